/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which rule a packet belongs to (package hwabstraction, "How a packet is
 * decided"). */
#ifndef DPMIP_DECIDE_H
#define DPMIP_DECIDE_H

#include "forward.h"

/* What claims an address now. */
struct claim {
	struct rule *red, *del;
	struct inst *red_group, *del_group;
	__u32 traps;
};

static __always_inline struct inst *group_of(struct rule *r)
{
	__u32 i = r->inst;

	return bpf_map_lookup_elem(&groups, &i);
}

/* claims reads the index and drops what is switched off. 0 = read again. */
static __always_inline int claims(const struct addr *a, struct claim *c)
{
	struct dst *d = bpf_map_lookup_elem(&dsts, a);
	__u32 red, del;

	c->red = c->del = 0;
	c->red_group = c->del_group = 0;
	c->traps = 0;
	if (!d)
		return 1;
	c->traps = d->traps;
	red = d->redirect;
	del = d->deliver;
	c->red = rule_at(red, a, KIND_REDIRECT);
	c->del = rule_at(del, a, KIND_DELIVER);
	if ((red && !c->red) || (del && !c->del))
		return 0;
	if (c->red) {
		c->red_group = group_of(c->red);
		if (!c->red_group || !(c->red_group->state & INST_ARMED))
			c->red = 0;
	}
	if (c->del) {
		c->del_group = group_of(c->del);
		if (!c->del_group || (!(c->del_group->state & INST_ACTIVE) && !(c->del->flags & RULE_HOLD)))
			c->del = 0;
	}
	return 1;
}

static __always_inline void read_claims(const struct addr *a, struct claim *c)
{
	if (!claims(a, c))
		claims(a, c);
}

/* restored decides a packet to a delivery address once more, by the address
 * that was restored. */
static __always_inline int restored(struct __sk_buff *skb, struct pkt *p, struct claim *first)
{
	struct rule *r = first->del;
	struct inst *g = first->del_group;
	struct claim c;

	read_claims(&r->to, &c);
	rewrite_dst(skb, p, &r->to);
	count_rule(r, skb->len, bpf_ktime_get_ns());
	if (!(g->state & INST_ACTIVE) && (g->state & INST_RETURNING)) {
		if (c.red && c.red_group)
			return redirect(skb, p, c.red, c.red_group);
		return deliver(skb, p, g);
	}
	if (c.del && c.del_group && c.del->epoch >= r->epoch && same(&c.del->to, &c.del->addr)) {
		r = c.del;
		g = c.del_group;
		if (c.del->inst != first->del->inst)
			count_rule(c.del, skb->len, bpf_ktime_get_ns());
	}
	if (c.red && c.red_group && c.red->epoch > r->epoch)
		return redirect(skb, p, c.red, c.red_group);
	return deliver(skb, p, g);
}

static __always_inline int decide(struct __sk_buff *skb, struct pkt *p, struct claim *c)
{
	if (c->del && c->del_group && (!c->red || c->del->epoch >= c->red->epoch)) {
		if (!same(&c->del->to, &c->del->addr))
			return restored(skb, p, c);
		count_rule(c->del, skb->len, bpf_ktime_get_ns());
		return deliver(skb, p, c->del_group);
	}
	if (c->red && c->red_group)
		return redirect(skb, p, c->red, c->red_group);
	return ACT_NEXT;
}

#endif
