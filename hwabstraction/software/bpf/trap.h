/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets for the agent. */
#ifndef DPMIP_TRAP_H
#define DPMIP_TRAP_H

#include "packet.h"

#define SECOND 1000000000ULL

/* within_rate is a token bucket of one second's worth (GCRA). */
static __always_inline int within_rate(struct rule *r)
{
	__u64 now = bpf_ktime_get_ns(), old = r->tat, tat = old, step;

	if (!r->rate)
		return 0;
	step = SECOND / r->rate;
	if (tat < now)
		tat = now;
	if (tat + step - now > SECOND)
		return 0;
	return __sync_val_compare_and_swap(&r->tat, old, tat + step) == old;
}

static __always_inline struct rule *trap_rule(struct pkt *p, __u32 class, __u32 *slot)
{
	struct trap_key k = {.addr = p->dst, .class = class};
	__u32 *s = bpf_map_lookup_elem(&traps, &k);

	if (!s)
		return 0;
	*slot = *s;
	return rule_at(*slot, &p->dst, KIND_TRAP);
}

/* trapped_by finds the narrowest trap that matches. */
static __always_inline struct rule *trapped_by(struct __sk_buff *skb, struct pkt *p, __u32 *slot)
{
	struct rule *r = 0;
	__be16 port;

	if ((p->proto == IP_TCP || p->proto == IP_UDP) && p->frag != FRAG_LATER &&
	    !bpf_skb_load_bytes(skb, p->l4 + 2, &port, sizeof(port)) && port)
		r = trap_rule(p, p->proto | (__u32)bpf_ntohs(port) << 16, slot);
	if (!r)
		r = trap_rule(p, p->proto, slot);
	return r ? r : trap_rule(p, 0, slot);
}

/* trap gives the packet to the agent; 0 = no rule wants it. */
static __noinline int trap(struct __sk_buff *skb, struct pkt *p)
{
	__u32 slot = 0, len = skb->len - ETH_LEN;
	struct rule *r = trapped_by(skb, p, &slot);
	struct trapped *t;

	if (!r)
		return 0;
	if (!within_rate(r)) {
		count_drop(DROP_TRAP_RATE, skb->len);
		return 1;
	}
	t = bpf_ringbuf_reserve(&trapped, sizeof(*t), 0);
	if (!t) {
		count_drop(DROP_TRAP_FULL, skb->len);
		return 1;
	}
	if (len > TRAP_MAX)
		len = TRAP_MAX;
	t->slot = slot;
	t->len = len;
	if (len < 1 || bpf_skb_load_bytes(skb, ETH_LEN, t->data, len)) {
		bpf_ringbuf_discard(t, 0);
		return 1;
	}
	bpf_ringbuf_submit(t, 0);
	count_rule(r, skb->len, bpf_ktime_get_ns());
	return 1;
}

#endif
