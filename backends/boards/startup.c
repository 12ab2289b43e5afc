/* From reset to main on a Cortex-M core under an emulator: vector table, floating point on, .bss zeroed, files by semihosting.
   The C library's own start-up code is not used: it moves the stack to where the emulator guesses free memory.
   FPSCR is left alone: on cores with MVE its LTPSIZE field must stay 4, or the first low-overhead loop faults. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t stack_top[], bss_start[], bss_end[];
extern int main(void);
extern void initialise_monitor_handles(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88)        /* coprocessor access: CP10 and CP11 are the FPU and MVE */
#define CFSR (*(volatile uint32_t *)0xE000ED28)         /* what kind of fault it was */

/* Semihosting (Arm's "Semihosting for AArch32 and AArch64"): operation in r0, argument in r1, then this breakpoint. */
static void host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void hexadecimal(char *to, uint32_t value) {
    for (int i = 7; i >= 0; i--, value >>= 4) to[i] = "0123456789abcdef"[value & 15];
}

/* frame: the registers the core pushed; its seventh word is the address of the faulting instruction. */
__attribute__((used)) static void report_fault(const uint32_t *frame) {
    static char message[] = "fault at pc=????????, cfsr=????????\n";
    hexadecimal(message + 12, frame[6]);
    hexadecimal(message + 27, CFSR);
    host(0x04, message);                                /* SYS_WRITE0 */
    host(0x18, (const void *)0x20023);                  /* SYS_EXIT, run-time error */
    for (;;) {}
}

__attribute__((naked)) static void fault(void) { __asm__ volatile("mrs r0, msp\n b report_fault"); }

__attribute__((noreturn)) void reset(void) {
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    for (volatile uint32_t *word = bss_start; word < bss_end; word++) *word = 0;
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    0, 0, 0, (void *)fault, (void *)fault, 0, (void *)fault, (void *)fault,
};

void _init(void) {}
void _fini(void) {}
