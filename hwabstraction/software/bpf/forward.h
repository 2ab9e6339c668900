/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is done with a packet once it is decided. */
#ifndef DPMIP_FORWARD_H
#define DPMIP_FORWARD_H

#include "policy.h"

#define AF_INET 2
#define AF_INET6 10

/* The top byte of the mark is ours, the next one says what the stack is to do;
 * the low 16 bits stay as they are. */
const volatile __u32 mark_base = 0x0d000000;
#define MARK_OURS 0xff000000
#define MARK_MASK 0xffff0000
#define MARK_DELIVER 0x00010000 /* table 7001: to the VM's port */
#define MARK_REJECT 0x00200000  /* the forward hook rejects it */
#define MARK_LARGE 0x00100000   /* + n << 16: answered or fragmented by the stack */

/* write_mark: the compiler must not fold the context pointer and the offset. */
static __always_inline void write_mark(struct __sk_buff *skb, __u32 v)
{
	asm volatile("*(u32 *)(%[ctx] + %[off]) = %[v]"
		     :
		     : [ctx] "r"(skb), [off] "i"(__builtin_offsetof(struct __sk_buff, mark)), [v] "r"(v)
		     : "memory");
}

static __always_inline __u32 read_mark(struct __sk_buff *skb)
{
	__u32 v;

	asm volatile("%[v] = *(u32 *)(%[ctx] + %[off])"
		     : [v] "=r"(v)
		     : [ctx] "r"(skb), [off] "i"(__builtin_offsetof(struct __sk_buff, mark))
		     : "memory");
	return v;
}

static __always_inline void set_mark(struct __sk_buff *skb, __u32 what)
{
	write_mark(skb, (read_mark(skb) & ~MARK_MASK) | mark_base | what);
}

static __always_inline int to_stack_large(struct __sk_buff *skb, __u32 mtu)
{
	__u32 *m = bpf_map_lookup_elem(&mtus, &mtu);

	set_mark(skb, m ? *m : MARK_LARGE);
	return ACT_OK;
}

static __always_inline int enter_ifb(struct __sk_buff *skb, struct inst *g)
{
	__sync_fetch_and_add(&g->entered, 1);
	g->cpu = bpf_get_smp_processor_id();
	set_mark(skb, MARK_DELIVER);
	return bpf_redirect(g->hold_ifindex, 0);
}

/* behind_others tells whether a released packet must still go through the ifb:
 * as long as one that went there was not seen to leave. */
static __always_inline int behind_others(struct inst *g, __u32 state)
{
	return (state & INST_HOLD) && *(volatile __u64 *)&g->entered != *(volatile __u64 *)&g->left;
}

static __always_inline int hold(struct __sk_buff *skb, struct inst *g)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 first = g->first_held;
	__u64 n, bytes;

	if (!first) {
		first = __sync_val_compare_and_swap(&g->first_held, 0, now);
		if (!first)
			first = now;
	}
	n = __sync_fetch_and_add(&g->held, 1);
	bytes = __sync_fetch_and_add(&g->held_bytes, skb->len);
	if (n >= g->limit_packets || bytes + skb->len > g->limit_bytes || now - first > g->limit_ns) {
		__sync_fetch_and_add(&g->held, -1);
		__sync_fetch_and_add(&g->held_bytes, -(__u64)skb->len);
		__sync_fetch_and_add(&g->hold_drops, 1);
		count_drop(DROP_HOLD_FULL, skb->len);
		return ACT_SHOT;
	}
	return enter_ifb(skb, g);
}

/* deliver: a rule of group g claimed the packet. */
static __noinline int deliver(struct __sk_buff *skb, struct pkt *p, struct inst *g)
{
	__u32 state = *(volatile __u32 *)&g->state;

	if (p->frag == FRAG_FIRST && (state & INST_ACTIVE))
		remember(p, V_HERE);
	if (state & (INST_ACTIVE | INST_RETURNING)) {
		if (behind_others(g, state))
			return enter_ifb(skb, g);
		if (state & INST_ACTIVE)
			set_mark(skb, MARK_DELIVER);
		return ACT_OK;
	}
	if (!(state & INST_HOLD)) {
		__sync_fetch_and_add(&g->hold_drops, 1);
		count_drop(DROP_HOLD_FULL, skb->len);
		return ACT_SHOT;
	}
	return hold(skb, g);
}

/* BPF_FIB_LOOKUP_DIRECT, the main table, where nobody else has policy rules: a
 * lookup through ours costs as much as all the rest. */
const volatile __u32 fib_flags = 0;

/* route looks the way of a redirected packet up; 0 = f says where. */
static __always_inline int route(struct __sk_buff *skb, struct pkt *p, const struct addr *to, struct bpf_fib_lookup *f)
{
	int v6 = to->d[0] || to->w[2] != bpf_htonl(0xffff);

	f->family = v6 ? AF_INET6 : AF_INET;
	f->ifindex = skb->ingress_ifindex ? skb->ingress_ifindex : skb->ifindex;
	f->tot_len = p->len > 65535 ? 65535 : p->len;
	if (v6) {
		if (p->v6)
			__builtin_memcpy(f->ipv6_src, &p->src, 16);
		__builtin_memcpy(f->ipv6_dst, to, 16);
	} else {
		f->ipv4_src = p->src.w[3];
		f->ipv4_dst = to->w[3];
	}
	return bpf_fib_lookup(skb, f, sizeof(*f), fib_flags);
}

/* A way is looked up again after HOP_NS. The packet that does so goes by the
 * neighbour table even where the MAC is known: else the kernel would not know
 * that the entry is in use, and would not find out that it is wrong. */
#define HOP_NS 1000000

static __always_inline struct hop *hop_slot(const struct rule *r)
{
	__u32 i = r->counter % HOPS;

	return bpf_map_lookup_elem(&hops, &i);
}

/* recall_hop finds the way that a packet took a moment ago; 0 = look it up. */
static __always_inline struct hop *recall_hop(struct pkt *p, const struct rule *r, const struct addr *to, __u64 now)
{
	struct hop *h = fib_flags ? hop_slot(r) : 0;

	if (!h || now - h->at > HOP_NS || !same(&h->to, to) || p->len > h->mtu)
		return 0;
	return h;
}

static __always_inline void remember_hop(const struct rule *r, const struct addr *to, const struct bpf_fib_lookup *f, __u64 now)
{
	struct hop *h = hop_slot(r);

	if (!h)
		return;
	h->to = *to;
	h->at = now;
	h->ifindex = f->ifindex;
	h->mtu = f->mtu_result;
	__builtin_memcpy(h->dmac, f->dmac, 6);
	__builtin_memcpy(h->smac, f->smac, 6);
}

static __always_inline int send_hop(struct __sk_buff *skb, struct pkt *p, const struct addr *dst, const struct hop *h)
{
	if (rewrite6(skb, p, dst, h) && rewrite4(skb, p, dst, h)) {
		if (!same(&p->dst, dst))
			rewrite_dst(skb, p, dst);
		decrement_ttl(skb, p);
		bpf_skb_store_bytes(skb, 0, h->dmac, 12, 0);
	}
	return bpf_redirect(h->ifindex, 0);
}

static __always_inline int send_neigh(struct __sk_buff *skb, struct pkt *p, const struct addr *dst, struct bpf_fib_lookup *f)
{
	struct bpf_redir_neigh nh = {};

	if (!same(&p->dst, dst))
		rewrite_dst(skb, p, dst);
	decrement_ttl(skb, p);
	nh.nh_family = f->family;
	if (f->family == AF_INET6)
		__builtin_memcpy(nh.ipv6_nh, f->ipv6_dst, 16);
	else
		nh.ipv4_nh = f->ipv4_dst;
	return bpf_redirect_neigh(f->ifindex, &nh, sizeof(nh), 0);
}

static __always_inline int refuse(struct __sk_buff *skb, struct rule *r)
{
	count_drop(DROP_NEW_FLOW, skb->len);
	if (r->policy == NEW_DROP)
		return ACT_SHOT;
	set_mark(skb, MARK_REJECT);
	return ACT_OK;
}

static __always_inline void count_redirect(struct __sk_buff *skb, struct rule *r, struct inst *g, __u64 now)
{
	count_rule(r, skb->len, now);
	if (!g->first_hit)
		g->first_hit = now;
}

/* lookup is the long way of a redirected packet: the FIB, and whatever it says. */
static __noinline int lookup(struct __sk_buff *skb, struct pkt *p, struct rule *r, struct inst *g, __u64 now)
{
	const struct addr *to = same(&r->to, &r->addr) ? &r->locator : &r->to;
	struct bpf_fib_lookup f = {};
	int err = route(skb, p, to, &f);

	if (err == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		count_drop(DROP_TOO_BIG, skb->len);
		return to_stack_large(skb, f.mtu_result);
	}
	if (err != BPF_FIB_LKUP_RET_SUCCESS && err != BPF_FIB_LKUP_RET_NO_NEIGH) {
		count_drop(DROP_NO_ROUTE, skb->len);
		return ACT_SHOT;
	}
	if (err == BPF_FIB_LKUP_RET_SUCCESS)
		remember_hop(r, to, &f, now);
	count_redirect(skb, r, g, now);
	return send_neigh(skb, p, &r->to, &f);
}

static __noinline int redirect(struct __sk_buff *skb, struct pkt *p, struct rule *r, struct inst *g)
{
	const struct addr *to = same(&r->to, &r->addr) ? &r->locator : &r->to;
	__u64 now = bpf_ktime_get_ns();
	struct hop *h;

	if (p->frag == FRAG_LATER && recall(p) == V_HERE) {
		set_mark(skb, MARK_DELIVER); /* the stack has the first and waits for this one */
		return ACT_OK;
	}
	if (p->frag == FRAG_FIRST && r->policy == NEW_REDIRECT)
		remember(p, V_ESTABLISHED);
	if (r->policy != NEW_REDIRECT && judge(skb, p, g, p->from_vm ? 0 : r->zone) == V_NEW)
		return refuse(skb, r);
	if (p->ttl <= 1) {
		count_drop(DROP_HOP_LIMIT, skb->len);
		return to_stack_large(skb, 0);
	}
	if (r->mtu && p->len > r->mtu) {
		count_drop(DROP_TOO_BIG, skb->len);
		return to_stack_large(skb, r->mtu);
	}
	h = recall_hop(p, r, to, now);
	if (!h)
		return lookup(skb, p, r, g, now);
	count_redirect(skb, r, g, now);
	return send_hop(skb, p, &r->to, h);
}

#endif
