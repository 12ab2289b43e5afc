/* A qemu plugin that says which straight-line blocks of guest code ran: "block <address> <instructions> <runs>" for each at exit.
   Single-threaded guests only; the interface is declared as in count_instructions.c. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_info_t;
enum { INLINE_ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter, uint64_t amount);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*at_exit)(plugin_id, void *), void *argument);

EXPORT int qemu_plugin_version = 1;

struct block {
    uint64_t address, instructions, runs;
    struct block *next;
};
static struct block *blocks;

static void count_block(plugin_id id, struct qemu_plugin_tb *translated) {
    struct block *block = calloc(1, sizeof *block);
    (void)id;
    if (!block)
        return;
    block->address = qemu_plugin_tb_vaddr(translated);
    block->instructions = qemu_plugin_tb_n_insns(translated);
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &block->runs, 1);
}

static void report(plugin_id id, void *argument) {
    (void)id, (void)argument;
    for (struct block *block = blocks; block; block = block->next)
        if (block->runs)
            fprintf(stderr, "block %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, block->runs);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info_t *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
