"""The functions of a pool of threads, in LLVM IR, and where in its memory what lies; pool.py tells what they do and starts the threads.

    PROGRAM.format(LINE=LINE, ...)      # define void @parallel_for(ptr %pool, ptr %body, ptr %argument, i32 %count32) ...

`parallel_for`, `together` and `rest` are those of an executor, `worker` is what every other thread runs, `dismiss` ends them all.
"""

LINE = 64               # bytes between words that different threads write
LOOKS = 100_000         # a worker looks for work so often before it sleeps, about a tenth of a millisecond
AGAIN = 1000            # who has left a job looks so often whether it is closed before it yields its processor and enters again
PATIENCE = 20_000       # the caller looks so often for the end of others' work before it yields its processor
# Byte offsets in the pool; the executor struct lies at 0, the counters of the slots behind everything else.
GENERATION, DONE, BUSY, SLEEPERS, STOP, TEAM = (LINE * n for n in range(1, 7))
BODY, ARGUMENT, COUNT, SLOTS, TEAM_BODY, TEAM_ARGUMENT, GETCPU, SETAFFINITY = (LINE * 7 + 8 * n for n in range(8))
MUTEX, CONDITION = LINE * 8, LINE * 10
CALLER = LINE * 12      # the processor that the others keep off, or -1
ALLOWED, OTHERS = LINE * 13, LINE * 15  # a bit for each processor: where threads may run, and where those other than the caller may
COUNTERS = LINE * 17
THREAD = 8              # into the line of a slot's counter: what the system calls its thread
PROCESSORS = 1024       # the bits of such a set
SET_BYTES = PROCESSORS // 8
INSIDE = (1 << 31) - 1  # in that word: how many are in the body
CLOSED = 1 << 31        # in the word of a job that all run together: nobody enters any more

PROGRAM = """
declare i32 @sched_yield()
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)

define internal ptr @at(ptr %pool, i64 %offset) alwaysinline {{
  %place = getelementptr i8, ptr %pool, i64 %offset
  ret ptr %place
}}

; Where the share of a slot begins.
define internal i64 @share(i64 %slot, i64 %count, i64 %slots) alwaysinline {{
  %product = mul i64 %slot, %count
  %start = udiv i64 %product, %slots
  ret i64 %start
}}

; Take indices of one job until there are none left; gives their number.
define internal i64 @work(ptr %pool, i64 %generation, i64 %slot) {{
entry:
  %body_at = call ptr @at(ptr %pool, i64 {BODY})
  %body = load atomic ptr, ptr %body_at acquire, align 8
  %argument_at = call ptr @at(ptr %pool, i64 {ARGUMENT})
  %argument = load atomic ptr, ptr %argument_at acquire, align 8
  %count_at = call ptr @at(ptr %pool, i64 {COUNT})
  %count = load atomic i64, ptr %count_at acquire, align 8
  %slots_at = call ptr @at(ptr %pool, i64 {SLOTS})
  %slots = load i64, ptr %slots_at
  %upper = shl i64 %generation, 32
  %slot32 = trunc i64 %slot to i32
  br label %shares
shares:
  %k = phi i64 [ 0, %entry ], [ %k.next, %share.end ]
  %taken.before = phi i64 [ 0, %entry ], [ %taken, %share.end ]
  %sum = add i64 %slot, %k
  %owner = urem i64 %sum, %slots
  %behind = add i64 %owner, 1
  %end = call i64 @share(i64 %behind, i64 %count, i64 %slots)
  %offset = mul i64 %owner, {LINE}
  %from = add i64 %offset, {COUNTERS}
  %counter = call ptr @at(ptr %pool, i64 %from)
  br label %take
take:
  %taken = phi i64 [ %taken.before, %shares ], [ %taken, %try ], [ %taken.next, %run ]
  %seen = load atomic i64, ptr %counter acquire, align 8
  %rest = sub i64 %seen, %upper
  %old = icmp ugt i64 %rest, 4294967295
  br i1 %old, label %over, label %current
current:
  %some = icmp ult i64 %rest, %end
  br i1 %some, label %try, label %share.end
try:
  %following = add i64 %seen, 1
  %exchange = cmpxchg ptr %counter, i64 %seen, i64 %following acq_rel acquire, align 8
  %mine = extractvalue {{ i64, i1 }} %exchange, 1
  br i1 %mine, label %run, label %take
run:
  %index = trunc i64 %rest to i32
  call void %body(ptr %argument, i32 %index, i32 %slot32)
  %taken.next = add i64 %taken, 1
  br label %take
share.end:
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %slots
  br i1 %more, label %shares, label %over
over:
  ret i64 %taken
}}

; Set every counter: to the beginning of its slot's share, or (closed) past every end.
define internal void @open(ptr %pool, i64 %generation, i64 %count, i1 %closed) {{
entry:
  %slots_at = call ptr @at(ptr %pool, i64 {SLOTS})
  %slots = load i64, ptr %slots_at
  %upper = shl i64 %generation, 32
  br label %each
each:
  %slot = phi i64 [ 0, %entry ], [ %next, %each ]
  %start = call i64 @share(i64 %slot, i64 %count, i64 %slots)
  %lower = select i1 %closed, i64 4294967295, i64 %start
  %value = or i64 %upper, %lower
  %offset = mul i64 %slot, {LINE}
  %from = add i64 %offset, {COUNTERS}
  %counter = call ptr @at(ptr %pool, i64 %from)
  store atomic i64 %value, ptr %counter release, align 8
  %next = add i64 %slot, 1
  %more = icmp ult i64 %next, %slots
  br i1 %more, label %each, label %end
end:
  ret void
}}

define internal void @wake(ptr %pool) {{
  %mutex = call ptr @at(ptr %pool, i64 {MUTEX})
  %condition = call ptr @at(ptr %pool, i64 {CONDITION})
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %woken = call i32 @pthread_cond_broadcast(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}}

; A job of this generation stands ready: the others see it, those asleep are woken.
define internal void @announce(ptr %pool, i64 %generation) {{
entry:
  %generation_at = call ptr @at(ptr %pool, i64 {GENERATION})
  store atomic i64 %generation, ptr %generation_at seq_cst, align 8
  %sleepers_at = call ptr @at(ptr %pool, i64 {SLEEPERS})
  %sleepers = load atomic i64, ptr %sleepers_at seq_cst, align 8
  %asleep = icmp ne i64 %sleepers, 0
  br i1 %asleep, label %rouse, label %end
rouse:
  call void @wake(ptr %pool)
  br label %end
end:
  ret void
}}

; Until these bits of the word have the value, yielding the processor now and then.
define internal void @await(ptr %word, i64 %bits, i64 %value) {{
entry:
  br label %look
look:
  %looks = phi i64 [ 0, %entry ], [ %looks.next, %again ], [ 0, %yield ]
  %now = load atomic i64, ptr %word acquire, align 8
  %seen = and i64 %now, %bits
  %there = icmp eq i64 %seen, %value
  br i1 %there, label %end, label %again
again:
  %looks.next = add i64 %looks, 1
  %patient = icmp ult i64 %looks.next, {PATIENCE}
  br i1 %patient, label %look, label %yield
yield:
  %yielded = call i32 @sched_yield()
  br label %look
end:
  ret void
}}

; From another processor than last time, the others leave that one to the caller.
define internal void @keep_off(ptr %pool) {{
entry:
  %getcpu_at = call ptr @at(ptr %pool, i64 {GETCPU})
  %getcpu = load ptr, ptr %getcpu_at
  %unknown = icmp eq ptr %getcpu, null
  br i1 %unknown, label %end, label %ask
ask:
  %here = call i32 %getcpu()
  %caller_at = call ptr @at(ptr %pool, i64 {CALLER})
  %old = load i32, ptr %caller_at
  %same = icmp eq i32 %here, %old
  %odd = icmp uge i32 %here, {PROCESSORS}
  %stay = or i1 %same, %odd
  br i1 %stay, label %end, label %moved
moved:
  store i32 %here, ptr %caller_at
  %allowed_at = call ptr @at(ptr %pool, i64 {ALLOWED})
  %allowed = load i{PROCESSORS}, ptr %allowed_at, align 8
  %wide = zext i32 %here to i{PROCESSORS}
  %bit = shl i{PROCESSORS} 1, %wide
  %mask = xor i{PROCESSORS} %bit, -1
  %others = and i{PROCESSORS} %allowed, %mask
  %others_at = call ptr @at(ptr %pool, i64 {OTHERS})
  store i{PROCESSORS} %others, ptr %others_at, align 8
  %set_at = call ptr @at(ptr %pool, i64 {SETAFFINITY})
  %set = load ptr, ptr %set_at
  %slots_at = call ptr @at(ptr %pool, i64 {SLOTS})
  %slots = load i64, ptr %slots_at
  br label %check
check:
  %slot = phi i64 [ 1, %moved ], [ %next, %each ]
  %more = icmp ult i64 %slot, %slots
  br i1 %more, label %each, label %end
each:
  %offset = mul i64 %slot, {LINE}
  %from = add i64 %offset, {COUNTERS}
  %line = call ptr @at(ptr %pool, i64 %from)
  %thread_at = call ptr @at(ptr %line, i64 {THREAD})
  %thread = load i32, ptr %thread_at
  %status = call i32 %set(i32 %thread, i64 {SET_BYTES}, ptr %others_at)
  %next = add i64 %slot, 1
  br label %check
end:
  ret void
}}

define void @parallel_for(ptr %pool, ptr %body, ptr %argument, i32 %count32) {{
entry:
  %busy_at = call ptr @at(ptr %pool, i64 {BUSY})
  %claim = cmpxchg ptr %busy_at, i64 0, i64 1 acquire monotonic, align 8
  %free = extractvalue {{ i64, i1 }} %claim, 1
  br i1 %free, label %publish, label %alone
alone:                                          ; another thread has the pool: do everything here
  %any = icmp ugt i32 %count32, 0
  br i1 %any, label %one, label %end
one:
  %i = phi i32 [ 0, %alone ], [ %i.next, %one ]
  call void %body(ptr %argument, i32 %i, i32 0)
  %i.next = add i32 %i, 1
  %i.more = icmp ult i32 %i.next, %count32
  br i1 %i.more, label %one, label %end
publish:
  call void @run(ptr %pool, ptr %body, ptr %argument, i32 %count32)
  br label %end
end:
  ret void
}}

; A job of whoever has claimed the pool, which is free behind it.
define internal void @run(ptr %pool, ptr %body, ptr %argument, i32 %count32) {{
entry:
  %count = zext i32 %count32 to i64
  %busy_at = call ptr @at(ptr %pool, i64 {BUSY})
  %generation_at = call ptr @at(ptr %pool, i64 {GENERATION})
  %old = load atomic i64, ptr %generation_at monotonic, align 8
  %generation = add i64 %old, 1
  call void @keep_off(ptr %pool)
  call void @open(ptr %pool, i64 %generation, i64 %count, i1 true)
  %body_at = call ptr @at(ptr %pool, i64 {BODY})
  store atomic ptr %body, ptr %body_at release, align 8
  %argument_at = call ptr @at(ptr %pool, i64 {ARGUMENT})
  store atomic ptr %argument, ptr %argument_at release, align 8
  %count_at = call ptr @at(ptr %pool, i64 {COUNT})
  store atomic i64 %count, ptr %count_at release, align 8
  %done_at = call ptr @at(ptr %pool, i64 {DONE})
  store atomic i64 0, ptr %done_at release, align 8
  call void @open(ptr %pool, i64 %generation, i64 %count, i1 false)
  call void @announce(ptr %pool, i64 %generation)
  %mine = call i64 @work(ptr %pool, i64 %generation, i64 0)
  %theirs = sub i64 %count, %mine
  call void @await(ptr %done_at, i64 -1, i64 %theirs)
  store atomic i64 0, ptr %busy_at release, align 8
  ret void
}}

; All slots run the body, the caller once, the others as often as they come while it does: it claims within what nobody has begun.
define void @together(ptr %pool, ptr %body, ptr %argument) {{
entry:
  %slots_at = call ptr @at(ptr %pool, i64 {SLOTS})
  %slots = load i64, ptr %slots_at
  %count = trunc i64 %slots to i32
  %busy_at = call ptr @at(ptr %pool, i64 {BUSY})
  %claim = cmpxchg ptr %busy_at, i64 0, i64 1 acquire monotonic, align 8
  %free = extractvalue {{ i64, i1 }} %claim, 1
  br i1 %free, label %all, label %alone
alone:                                          ; another thread has the pool
  call void %body(ptr %argument, i32 0, i32 1)
  ret void
all:                                            ; nobody reads the members of a closed job: they may change
  %generation_at = call ptr @at(ptr %pool, i64 {GENERATION})
  %old = load atomic i64, ptr %generation_at monotonic, align 8
  %generation = add i64 %old, 1
  call void @keep_off(ptr %pool)
  %body_at = call ptr @at(ptr %pool, i64 {TEAM_BODY})
  store ptr %body, ptr %body_at
  %argument_at = call ptr @at(ptr %pool, i64 {TEAM_ARGUMENT})
  store ptr %argument, ptr %argument_at
  %team_at = call ptr @at(ptr %pool, i64 {TEAM})
  %open = shl i64 %generation, 32
  store atomic i64 %open, ptr %team_at release, align 8
  call void @announce(ptr %pool, i64 %generation)
  call void %body(ptr %argument, i32 0, i32 %count)
  %closing = atomicrmw or ptr %team_at, i64 {CLOSED} acq_rel
  call void @await(ptr %team_at, i64 {INSIDE}, i64 0)
  store atomic i64 0, ptr %busy_at release, align 8
  ret void
}}

; Run the body of a job of all, again and again while it is open.
define internal void @member(ptr %pool, i64 %generation, i64 %slot) {{
entry:
  %team_at = call ptr @at(ptr %pool, i64 {TEAM})
  %body_at = call ptr @at(ptr %pool, i64 {TEAM_BODY})
  %argument_at = call ptr @at(ptr %pool, i64 {TEAM_ARGUMENT})
  %slots_at = call ptr @at(ptr %pool, i64 {SLOTS})
  %upper = shl i64 %generation, 32
  %slot32 = trunc i64 %slot to i32
  br label %try
try:
  %seen = load atomic i64, ptr %team_at acquire, align 8
  %inside = sub i64 %seen, %upper
  %over = icmp uge i64 %inside, {CLOSED}
  br i1 %over, label %end, label %enter
enter:
  %more = add i64 %seen, 1
  %exchange = cmpxchg ptr %team_at, i64 %seen, i64 %more acq_rel acquire, align 8
  %in = extractvalue {{ i64, i1 }} %exchange, 1
  br i1 %in, label %run, label %try
run:
  %body = load ptr, ptr %body_at
  %argument = load ptr, ptr %argument_at
  %slots = load i64, ptr %slots_at
  %count = trunc i64 %slots to i32
  call void %body(ptr %argument, i32 %slot32, i32 %count)
  %before = atomicrmw sub ptr %team_at, i64 1 acq_rel
  br label %look
look:
  %looks = phi i64 [ 0, %run ], [ %looks.next, %wait ]
  %now = load atomic i64, ptr %team_at acquire, align 8
  %rest = sub i64 %now, %upper
  %closed = icmp uge i64 %rest, {CLOSED}
  br i1 %closed, label %end, label %wait
wait:
  %looks.next = add i64 %looks, 1
  %patient = icmp ult i64 %looks.next, {AGAIN}
  br i1 %patient, label %look, label %yield
yield:
  %yielded = call i32 @sched_yield()
  br label %try
end:
  ret void
}}

define void @rest(ptr %pool) {{
  %yielded = call i32 @sched_yield()
  ret void
}}

define void @worker(ptr %pool, i64 %slot) {{
entry:
  %generation_at = call ptr @at(ptr %pool, i64 {GENERATION})
  %done_at = call ptr @at(ptr %pool, i64 {DONE})
  %stop_at = call ptr @at(ptr %pool, i64 {STOP})
  %sleepers_at = call ptr @at(ptr %pool, i64 {SLEEPERS})
  %mutex = call ptr @at(ptr %pool, i64 {MUTEX})
  %condition = call ptr @at(ptr %pool, i64 {CONDITION})
  br label %idle
idle:
  %last = phi i64 [ 0, %entry ], [ %generation, %found ], [ %generation, %report ], [ %last, %awake ]
  br label %look
look:
  %looks = phi i64 [ 0, %idle ], [ %looks.next, %continue ]
  %generation = load atomic i64, ptr %generation_at acquire, align 8
  %new = icmp ne i64 %generation, %last
  br i1 %new, label %found, label %nothing
found:
  call void @member(ptr %pool, i64 %generation, i64 %slot)
  %taken = call i64 @work(ptr %pool, i64 %generation, i64 %slot)
  %some = icmp ne i64 %taken, 0
  br i1 %some, label %report, label %idle
report:
  %before = atomicrmw add ptr %done_at, i64 %taken release
  br label %idle
nothing:
  %stop = load atomic i64, ptr %stop_at monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %end, label %continue
continue:
  %looks.next = add i64 %looks, 1
  %patient = icmp ult i64 %looks.next, {LOOKS}
  br i1 %patient, label %look, label %sleep
sleep:
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %others = atomicrmw add ptr %sleepers_at, i64 1 seq_cst
  br label %check
check:
  %now = load atomic i64, ptr %generation_at seq_cst, align 8
  %called = icmp ne i64 %now, %last
  %stop.now = load atomic i64, ptr %stop_at seq_cst, align 8
  %dismissed = icmp ne i64 %stop.now, 0
  %up = or i1 %called, %dismissed
  br i1 %up, label %awake, label %wait
wait:
  %waited = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
awake:
  %fewer = atomicrmw sub ptr %sleepers_at, i64 1 seq_cst
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %idle
end:
  ret void
}}

define void @dismiss(ptr %pool) {{
  %stop_at = call ptr @at(ptr %pool, i64 {STOP})
  store atomic i64 1, ptr %stop_at seq_cst, align 8
  call void @wake(ptr %pool)
  ret void
}}
"""

FACTS = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, int)}
