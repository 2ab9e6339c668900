/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The source guard of a VM's port. */
#ifndef DPMIP_GUARD_H
#define DPMIP_GUARD_H

#include "packet.h"

struct macs {
	__u8 dst[6], src[6];
};

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

static __always_inline int zero_mac(const __u8 *a)
{
	return !(a[0] | a[1] | a[2] | a[3] | a[4] | a[5]);
}

/* owns finds the Egress that lets this port use an address. */
static __always_inline struct rule *owns(__u32 ifindex, const struct addr *a)
{
	struct egress_key k = {.addr = *a, .ifindex = ifindex};
	__u32 *slot = bpf_map_lookup_elem(&sources, &k);
	struct rule *r;

	if (!slot)
		return 0;
	r = rule_at(*slot, a, KIND_EGRESS);
	return r && r->ifindex == ifindex ? r : 0;
}

/* link_local6: an address that a VM may have of itself; fe80::1 is ours. */
static __always_inline int link_local6(const struct addr *a)
{
	if (a->w[0] == bpf_htonl(0xfe800000) && !a->w[1] && !a->w[2] && a->w[3] == bpf_htonl(1))
		return 0;
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static __always_inline int unspecified6(const struct addr *a)
{
	return !a->d[0] && !a->d[1];
}

static __always_inline int guard_arp(struct __sk_buff *skb, const __u8 *mac)
{
	__u8 arp[28];
	struct addr spa;
	__be32 v;

	if (bpf_skb_load_bytes(skb, ETH_LEN, arp, sizeof(arp)))
		return 0;
	if (!zero_mac(mac) && !same_mac(arp + 8, mac))
		return 0;
	__builtin_memcpy(&v, arp + 14, 4);
	if (!v)
		return 1;
	map4(&spa, v);
	return owns(skb->ifindex, &spa) != 0;
}

#define ND_RS 133
#define ND_RA 134
#define ND_NS 135
#define ND_NA 136
#define ND_REDIRECT 137

/* guard_icmp6 refuses what only routers send, and claims to others' addresses. */
static __always_inline int guard_icmp6(struct __sk_buff *skb, struct pkt *p, int limited)
{
	struct {
		__u8 type, code;
		__be16 sum;
		__be32 rest;
	} h;
	struct addr target;

	if (bpf_skb_load_bytes(skb, p->l4, &h, sizeof(h)))
		return 0;
	switch (h.type) {
	case ND_RA:
	case ND_REDIRECT:
		return 0;
	case ND_NS:
		if (!unspecified6(&p->src))
			return 1;
	case ND_NA:
		if (bpf_skb_load_bytes(skb, p->l4 + 8, &target, 16))
			return 0;
		return link_local6(&target) || owns(skb->ifindex, &target) != 0;
	case ND_RS:
	case 130:
	case 131:
	case 132:
	case 143:
		return 1;
	}
	return !limited;
}

static __always_inline int udp_ports(struct __sk_buff *skb, struct pkt *p, __u16 from, __u16 to)
{
	__be16 ports[2];

	if (p->proto != IP_UDP || p->frag == FRAG_LATER || bpf_skb_load_bytes(skb, p->l4, ports, 4))
		return 0;
	return ports[0] == bpf_htons(from) && ports[1] == bpf_htons(to);
}

/* guard_ip tells whether the VM may send this; *r is the Egress that says so. */
static __always_inline int guard_ip(struct __sk_buff *skb, struct pkt *p, struct rule **r)
{
	*r = owns(skb->ifindex, &p->src);
	if (!p->v6)
		return *r || (!p->src.w[3] && udp_ports(skb, p, 68, 67));
	if (*r)
		return p->proto != IP_ICMP6 || p->frag == FRAG_LATER || guard_icmp6(skb, p, 0);
	if (!link_local6(&p->src) && !unspecified6(&p->src))
		return 0;
	if (p->frag != FRAG_NONE)
		return 0;
	if (p->proto == IP_ICMP6)
		return guard_icmp6(skb, p, 1);
	return link_local6(&p->src) && udp_ports(skb, p, 546, 547);
}

enum guarded {
	GUARD_DROP,
	GUARD_MALFORMED, /* nobody can say whose it is */
	GUARD_STACK, /* for the gateway: nothing to decide */
	GUARD_PASS,
};

/* guard reads a packet of a VM and tells what may become of it. */
static __noinline int guard(struct __sk_buff *skb, struct pkt *p)
{
	__u32 ifindex = skb->ifindex;
	struct rule *r = 0;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct macs m;

	if (!port)
		return GUARD_STACK; /* no VM's now: attached before or after its time */
	if (bpf_skb_load_bytes(skb, 0, &m, sizeof(m)))
		return GUARD_DROP;
	if (!zero_mac(port->mac) && !same_mac(port->mac, m.src))
		return GUARD_DROP;
	if (skb->protocol == bpf_htons(ETH_ARP))
		return guard_arp(skb, port->mac) ? GUARD_STACK : GUARD_DROP;
	if (!is_ip(skb))
		return GUARD_DROP;
	if (parse(skb, p))
		return GUARD_MALFORMED;
	if (!guard_ip(skb, p, &r))
		return GUARD_DROP;
	if (!r)
		return GUARD_STACK;
	count_rule(r, skb->len, bpf_ktime_get_ns());
	return GUARD_PASS;
}

#endif
