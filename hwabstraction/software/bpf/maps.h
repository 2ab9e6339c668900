/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#ifndef DPMIP_MAPS_H
#define DPMIP_MAPS_H

#include "types.h"

/* Sizes are set by user space before loading. All but hops are pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct rule);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct inst);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct addr);
	__type(value, struct dst);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} dsts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct egress_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct trap_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} traps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct port);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ports SEC(".maps");

/* Marks that make the kernel's stack handle a packet larger than key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} mtus SEC(".maps");

/* Flows known from before the move. Nothing but user space removes any. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, __u8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

/* Verdicts of flows that were judged once; 1 = established. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, __u8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} judged SEC(".maps");

/* Verdicts of first fragments, for the later ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct frag_key);
	__type(value, __u8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} frags SEC(".maps");

#define HOPS 1024

/* Not pinned: it remembers for HOP_NS only. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOPS);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} trapped SEC(".maps");

static __always_inline void count_drop(__u32 why, __u32 len)
{
	struct counter *c = bpf_map_lookup_elem(&drops, &why);

	if (c) {
		c->packets++;
		c->bytes += len;
	}
}

static __always_inline void count_rule(const struct rule *r, __u32 len, __u64 now)
{
	__u32 i = r->counter;
	struct counter *c = bpf_map_lookup_elem(&counters, &i);

	if (c) {
		c->packets++;
		c->bytes += len;
		c->last = now;
	}
}

static __always_inline int same(const struct addr *a, const struct addr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}

/* rule_at checks that a slot still is what the index said: an index entry may
 * be reused while it is being read. */
static __always_inline struct rule *rule_at(__u32 slot, const struct addr *a, __u8 kind)
{
	struct rule *r;

	if (!slot)
		return 0;
	r = bpf_map_lookup_elem(&rules, &slot);
	if (!r || r->kind != kind || !same(&r->addr, a))
		return 0;
	return r;
}

#endif
