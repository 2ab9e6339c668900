// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The packet path of the software backend: fabric_in on fabric ports, vm_in on
// VM ports, both on ingress, attachable by TCX and by cls_bpf (direct action).

#include "decide.h"
#include "guard.h"
#include "trap.h"

char __license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int forward(struct __sk_buff *skb, struct pkt *p)
{
	__u32 mark = read_mark(skb);
	struct claim c;

	/* Marks do not travel: one of ours came round by the loop port. */
	if ((mark & MARK_OURS) == mark_base)
		write_mark(skb, mark & ~MARK_MASK);
	read_claims(&p->dst, &c);
	if (c.traps && trap(skb, p))
		return ACT_SHOT;
	return decide(skb, p, &c);
}

SEC("tc")
int fabric_in(struct __sk_buff *skb)
{
	struct pkt p = {};

	if (!is_ip(skb) || parse(skb, &p))
		return ACT_NEXT;
	return forward(skb, &p);
}

SEC("tc")
int vm_in(struct __sk_buff *skb)
{
	struct pkt p = {.from_vm = 1};

	switch (guard(skb, &p)) {
	case GUARD_DROP:
		count_drop(DROP_SOURCE_GUARD, skb->len);
		return ACT_SHOT;
	case GUARD_MALFORMED:
		count_drop(DROP_MALFORMED, skb->len);
		return ACT_SHOT;
	case GUARD_STACK:
		return ACT_NEXT;
	}
	return forward(skb, &p);
}
