/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Telling established flows from new ones. */
#ifndef DPMIP_POLICY_H
#define DPMIP_POLICY_H

#include "packet.h"

#define CT_SEEN_REPLY 2
#define ZONE_DIR_DEFAULT 3

/* 16 where bpf_ct_opts has a zone (6.10), else 12; 0 without conntrack. */
const volatile __u32 ct_opts_size = 16;

struct nf_conn {
	unsigned long status;
} __attribute__((preserve_access_index));

struct bpf_ct_opts___dpmip {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u16 zone;
	__u8 zone_dir;
	__u8 reserved[3];
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple__sz,
					 struct bpf_ct_opts___dpmip *opts, __u32 opts__sz) __weak __ksym;
extern void bpf_ct_release(struct nf_conn *ct) __weak __ksym;

/* V_HERE: the first fragment went to the VM here, before the redirect acted. */
enum verdict { V_NEW, V_ESTABLISHED, V_HERE };

/* conntracked asks the kernel whether it has seen the flow answered. */
static __noinline int conntracked(struct __sk_buff *skb, const struct flow_key *k, __u32 v6, __u16 zone)
{
	struct bpf_ct_opts___dpmip o = {.netns_id = -1, .l4proto = k->proto};
	struct bpf_sock_tuple t = {};
	struct nf_conn *ct;
	int seen;

	/* ct_opts_size is 0 where the kernel has no such kfunc. Its address must not be
	 * asked for: the kernel refuses that where conntrack is a module. */
	if (!ct_opts_size || (k->proto != IP_TCP && k->proto != IP_UDP))
		return V_NEW;
	if (ct_opts_size == 16) {
		o.zone = zone;
		o.zone_dir = ZONE_DIR_DEFAULT;
	}
	if (v6) {
		__builtin_memcpy(t.ipv6.saddr, &k->peer, 16);
		__builtin_memcpy(t.ipv6.daddr, &k->vm, 16);
		t.ipv6.sport = k->peer_port;
		t.ipv6.dport = k->vm_port;
		ct = bpf_skb_ct_lookup(skb, &t, sizeof(t.ipv6), &o, ct_opts_size);
	} else {
		t.ipv4.saddr = k->peer.w[3];
		t.ipv4.daddr = k->vm.w[3];
		t.ipv4.sport = k->peer_port;
		t.ipv4.dport = k->vm_port;
		ct = bpf_skb_ct_lookup(skb, &t, sizeof(t.ipv4), &o, ct_opts_size);
	}
	if (!ct)
		return V_NEW;
	seen = (ct->status & CT_SEEN_REPLY) != 0;
	bpf_ct_release(ct);
	return seen;
}

/* inner_key reads the flow that an ICMP error quotes: it was sent by the VM. */
static __always_inline int inner_key(struct __sk_buff *skb, struct pkt *p, struct flow_key *k)
{
	__u32 off = p->l4 + 8;
	__be16 ports[2];
	struct ip4 h4;
	struct ip6 h6;

	if (p->v6) {
		if (bpf_skb_load_bytes(skb, off, &h6, sizeof(h6)))
			return -1;
		k->vm = h6.src;
		k->peer = h6.dst;
		k->proto = h6.next;
		off += sizeof(h6);
	} else {
		if (bpf_skb_load_bytes(skb, off, &h4, sizeof(h4)))
			return -1;
		map4(&k->vm, h4.src);
		map4(&k->peer, h4.dst);
		k->proto = h4.proto;
		off += (h4.vihl & 15) * 4;
	}
	if (k->proto == IP_ICMP || k->proto == IP_ICMP6) {
		if (bpf_skb_load_bytes(skb, off + 4, ports, 2))
			return -1;
		k->vm_port = k->peer_port = ports[0];
		return 0;
	}
	if (bpf_skb_load_bytes(skb, off, ports, 4))
		return -1;
	k->vm_port = ports[0];
	k->peer_port = ports[1];
	return 0;
}

static __always_inline int icmp_error(struct pkt *p, __u8 type)
{
	if (p->v6)
		return type < 128;
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* flow_key fills in the flow of a packet to the VM; 1 = an error about one. */
static __always_inline int key_of(struct __sk_buff *skb, struct pkt *p, struct flow_key *k)
{
	__u8 type;
	__be16 ports[2] = {};

	k->vm = p->dst;
	k->peer = p->src;
	k->proto = p->proto;
	if (p->proto == IP_ICMP || p->proto == IP_ICMP6) {
		if (bpf_skb_load_bytes(skb, p->l4, &type, 1))
			return -1;
		if (icmp_error(p, type))
			return inner_key(skb, p, k) ? -1 : 1;
		bpf_skb_load_bytes(skb, p->l4 + 4, ports, 2);
		k->vm_port = k->peer_port = ports[0];
		return 0;
	}
	if (p->proto == IP_TCP || p->proto == IP_UDP || p->proto == IP_UDPLITE || p->proto == 132) {
		if (bpf_skb_load_bytes(skb, p->l4, ports, 4))
			return -1;
		k->peer_port = ports[0];
		k->vm_port = ports[1];
	}
	return 0;
}

static __always_inline int tcp_opens(struct __sk_buff *skb, struct pkt *p)
{
	__u8 flags = 0;

	bpf_skb_load_bytes(skb, p->l4 + 13, &flags, 1);
	return (flags & 0x12) == 0x02;
}

static __always_inline int judge_flow(struct __sk_buff *skb, struct pkt *p, const struct inst *g, __u16 zone)
{
	struct flow_key k = {};
	__u8 v, *known;
	int err;

	if (p->proto == IP_TCP)
		return tcp_opens(skb, p) ? V_NEW : V_ESTABLISHED;
	err = key_of(skb, p, &k);
	if (err < 0)
		return V_NEW;
	if (err && k.proto == IP_TCP)
		return V_ESTABLISHED;
	k.serial = g->serial;
	if (bpf_map_lookup_elem(&flows, &k))
		return V_ESTABLISHED;
	known = bpf_map_lookup_elem(&judged, &k);
	if (known)
		return *known;
	v = conntracked(skb, &k, p->v6, zone);
	if (v == V_NEW && (g->state & INST_OVERFLOW)) {
		count_drop(COUNT_FLOW_OVERFLOW, skb->len);
		v = V_ESTABLISHED;
	}
	bpf_map_update_elem(&judged, &k, &v, BPF_ANY);
	return v;
}

static __always_inline void frag_of(struct pkt *p, struct frag_key *f)
{
	f->src = p->src;
	f->dst = p->dst;
	f->id = p->id;
	f->proto = p->v6 ? IP_ICMP6 : p->proto;
}

static __noinline int recall(struct pkt *p)
{
	struct frag_key f;
	__u8 *known;

	frag_of(p, &f);
	known = bpf_map_lookup_elem(&frags, &f);
	return known ? *known : V_ESTABLISHED;
}

static __noinline int remember(struct pkt *p, __u8 verdict)
{
	struct frag_key f;

	frag_of(p, &f);
	return bpf_map_update_elem(&frags, &f, &verdict, BPF_ANY);
}

/* judge tells a new flow's packet; later fragments follow the first. */
static __noinline int judge(struct __sk_buff *skb, struct pkt *p, const struct inst *g, __u16 zone)
{
	int v;

	if (p->frag == FRAG_LATER)
		return recall(p);
	v = judge_flow(skb, p, g, zone);
	if (p->frag == FRAG_FIRST)
		remember(p, v);
	return v;
}

#endif
