/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reading and rewriting one packet. */
#ifndef DPMIP_PACKET_H
#define DPMIP_PACKET_H

#include "maps.h"

static __always_inline void map4(struct addr *a, __be32 v)
{
	a->d[0] = 0;
	a->w[2] = bpf_htonl(0xffff);
	a->w[3] = v;
}

struct ip4 {
	__u8 vihl, tos;
	__be16 len, id, off;
	__u8 ttl, proto;
	__be16 sum;
	__be32 src, dst;
};

/* load4 reads the header in place where it can: that is the usual case. */
static __always_inline int load4(struct __sk_buff *skb, struct ip4 *h)
{
	__u8 *data = (__u8 *)(long)skb->data;

	if (data + ETH_LEN + sizeof(*h) > (__u8 *)(long)skb->data_end)
		return bpf_skb_load_bytes(skb, ETH_LEN, h, sizeof(*h));
	*h = *(struct ip4 *)(data + ETH_LEN);
	return 0;
}

static __always_inline int parse4(struct __sk_buff *skb, struct pkt *p)
{
	struct ip4 h;
	__u16 off;

	if (load4(skb, &h) || h.vihl >> 4 != 4 || (h.vihl & 15) < 5)
		return -1;
	map4(&p->src, h.src);
	map4(&p->dst, h.dst);
	p->ttl = h.ttl;
	p->proto = h.proto;
	p->id = h.id;
	p->l4 = ETH_LEN + (h.vihl & 15) * 4;
	off = bpf_ntohs(h.off) & 0x3fff;
	p->frag = !off ? FRAG_NONE : off & 0x1fff ? FRAG_LATER : FRAG_FIRST;
	return 0;
}

struct ip6 {
	__be32 vtf;
	__be16 len;
	__u8 next, hop;
	struct addr src, dst;
};

/* load6 reads the header in place where it can: that is the usual case. */
static __always_inline int load6(struct __sk_buff *skb, struct ip6 *h)
{
	__u8 *data = (__u8 *)(long)skb->data;

	if (data + ETH_LEN + sizeof(*h) > (__u8 *)(long)skb->data_end)
		return bpf_skb_load_bytes(skb, ETH_LEN, h, sizeof(*h));
	*h = *(struct ip6 *)(data + ETH_LEN);
	return 0;
}

struct ext6 {
	__u8 next, len;
	__be16 off;
	__be32 id;
};

#define EXT_MAX 6

static __always_inline int parse6(struct __sk_buff *skb, struct pkt *p)
{
	struct ip6 h;
	struct ext6 e;
	__u32 off = ETH_LEN + sizeof(h);
	__u8 next;
	int i;

	if (load6(skb, &h))
		return -1;
	p->src = h.src;
	p->dst = h.dst;
	p->ttl = h.hop;
	next = h.next;
	for (i = 0; i < EXT_MAX; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, off, &e, sizeof(e)))
			return -1;
		if (next == 44) {
			p->id = e.id;
			p->frag = bpf_ntohs(e.off) & 0xfff8 ? FRAG_LATER : FRAG_FIRST;
			off += 8;
			next = e.next;
			if (p->frag == FRAG_LATER)
				break;
			continue;
		}
		off += ((__u32)e.len + 1) * 8;
		next = e.next;
	}
	p->proto = next;
	p->l4 = off;
	return 0;
}

/* wire_length is what the largest packet will measure on the wire, after
 * segmentation. */
static __always_inline __u32 wire_length(struct __sk_buff *skb, struct pkt *p)
{
	__u8 doff = 0;

	if (!skb->gso_size)
		return skb->len - ETH_LEN;
	if (p->proto != IP_TCP)
		return p->l4 - ETH_LEN + 8 + skb->gso_size;
	bpf_skb_load_bytes(skb, p->l4 + 12, &doff, 1);
	return p->l4 - ETH_LEN + (doff >> 4) * 4 + skb->gso_size;
}

static __always_inline int is_ip(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_IP) || skb->protocol == bpf_htons(ETH_IP6);
}

static __noinline int parse(struct __sk_buff *skb, struct pkt *p)
{
	int err;

	if (skb->protocol == bpf_htons(ETH_IP6)) {
		p->v6 = 1;
		err = parse6(skb, p);
	} else {
		err = parse4(skb, p);
	}
	if (!err)
		p->len = wire_length(skb, p);
	return err;
}

/* sum_offset is where the transport checksum over the pseudo header lies; 0
 * where the protocol has none. */
static __always_inline __u32 sum_offset(struct pkt *p)
{
	switch (p->proto) {
	case IP_TCP:
		return p->l4 + 16;
	case IP_UDP:
	case IP_UDPLITE:
		return p->l4 + 6;
	case IP_ICMP6:
		return p->v6 ? p->l4 + 2 : 0;
	}
	return 0;
}

static __always_inline void fix_transport(struct __sk_buff *skb, struct pkt *p, __u32 diff)
{
	__u32 off = sum_offset(p);
	__u64 flags = BPF_F_PSEUDO_HDR;

	if (!off || p->frag == FRAG_LATER)
		return;
	if (p->proto == IP_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	if (!p->v6) {
		bpf_l4_csum_replace(skb, off, 0, diff, flags);
		return;
	}
	/* Kernels that do not know BPF_F_IPV6 refuse it before they write. */
	if (bpf_l4_csum_replace(skb, off, 0, diff, flags | BPF_F_IPV6) < 0)
		bpf_l4_csum_replace(skb, off, 0, diff, flags);
}

static __always_inline __u32 sum_of(const struct addr *a)
{
	__u64 s = (__u64)a->w[0] + a->w[1] + a->w[2] + a->w[3];

	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffff) + ((s >> 16) & 0xffff) + (s >> 32);
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return s == 0xffff ? 0 : s;
}

/* rewrite_dst writes another destination and keeps every checksum right. An
 * IPv6 address with the same sum costs the transport header nothing. */
static __always_inline void rewrite_dst(struct __sk_buff *skb, struct pkt *p, const struct addr *to)
{
	struct addr new = *to;
	__u32 diff;

	if (p->v6) {
		if (sum_of(&p->dst) != sum_of(&new)) {
			diff = bpf_csum_diff(p->dst.w, 16, new.w, 16, 0);
			fix_transport(skb, p, diff);
		}
		bpf_skb_store_bytes(skb, ETH_LEN + 24, &new, 16, 0);
	} else {
		diff = bpf_csum_diff(&p->dst.w[3], 4, &new.w[3], 4, 0);
		fix_transport(skb, p, diff);
		bpf_l3_csum_replace(skb, ETH_LEN + 10, 0, diff, 0);
		bpf_skb_store_bytes(skb, ETH_LEN + 16, &new.w[3], 4, 0);
	}
	p->dst = new;
}

static __always_inline void decrement_ttl(struct __sk_buff *skb, struct pkt *p)
{
	__u8 ttl = p->ttl - 1;

	if (p->v6) {
		bpf_skb_store_bytes(skb, ETH_LEN + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM);
		return;
	}
	bpf_l3_csum_replace(skb, ETH_LEN + 10, bpf_htons((__u16)p->ttl << 8), bpf_htons((__u16)ttl << 8), 2);
	bpf_skb_store_bytes(skb, ETH_LEN + 8, &ttl, 1, 0);
}

/* write_macs writes both at once; data is even, as the kernel's IP headers lie on
 * a multiple of four. */
static __always_inline void write_macs(__u8 *data, const struct hop *h)
{
	const __u16 *from = (const __u16 *)h->dmac;
	__u16 *to = (__u16 *)data;

	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
	to[4] = from[4];
	to[5] = from[5];
}

#define HOP6_LESS 0xfeff /* what hop limit - 1 adds to a sum, little-endian */

/* rewrite6 does all that at once, for IPv6 and an address with the same sum:
 * MACs, hop limit, destination. 0 = done. */
static __always_inline int rewrite6(struct __sk_buff *skb, struct pkt *p, const struct addr *to, const struct hop *h)
{
	struct addr new = *to;
	__u8 *data, *end;

	if (!p->v6 || sum_of(&p->dst) != sum_of(&new))
		return -1;
	bpf_csum_update(skb, HOP6_LESS);
	data = (__u8 *)(long)skb->data;
	end = (__u8 *)(long)skb->data_end;
	if (data + ETH_LEN + 40 > end) {
		bpf_csum_update(skb, 0xffff & ~HOP6_LESS);
		return -1;
	}
	write_macs(data, h);
	data[ETH_LEN + 7] = p->ttl - 1;
	*(struct addr *)(data + ETH_LEN + 24) = new;
	return 0;
}

#define TTL_LESS 0xfffe /* what TTL - 1 adds to a sum, little-endian */

/* rewrite4 does it for IPv4, but for the transport's checksum: only the kernel
 * knows whether that is whole. The header's sum stays what it was, so that the
 * packet's does. 0 = done. */
static __always_inline int rewrite4(struct __sk_buff *skb, struct pkt *p, const struct addr *to, const struct hop *h)
{
	__be32 old = p->dst.w[3], new = to->w[3];
	__u8 *data = (__u8 *)(long)skb->data;
	__u32 sum, off = sum_offset(p);
	struct ip4 *ip;

	if (p->v6 || data + ETH_LEN + sizeof(*ip) > (__u8 *)(long)skb->data_end)
		return -1;
	write_macs(data, h);
	ip = (struct ip4 *)(data + ETH_LEN);
	sum = (__u16)~ip->sum + TTL_LESS + (~old >> 16) + (~old & 0xffff) + (new >> 16) + (new & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->sum = ~sum;
	ip->ttl = p->ttl - 1;
	ip->dst = new;
	if (off && old != new && p->frag != FRAG_LATER)
		bpf_l4_csum_replace(skb, off, old, new, BPF_F_PSEUDO_HDR | (p->proto == IP_UDP ? BPF_F_MARK_MANGLED_0 : 0) | sizeof(new));
	return 0;
}

#endif
