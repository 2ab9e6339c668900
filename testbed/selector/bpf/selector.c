// SPDX-License-Identifier: GPL-2.0
//
// The lab's switch: a VM's frames reach exactly one hypervisor port, and only
// that port's frames reach the VM. Everything else is counted and dropped. What
// goes on is handed to the far end of the outgoing link at once: a queue less.
//
//   VM eth0 -- <vm> --(vm_in)--> q-<vm> [park] == r-<vm> --(park_out)--> <hv>-<vm> -- hypervisor
//   VM eth0 <-- <vm> <--(port_in)-- <hv>-<vm> -- hypervisor
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PARK_ETHERTYPE 0x88b5
#define MAX_LINKS 1024

// What a link of the switch namespace is, by its index.
struct link {
	__u32 vm; // number of the VM it belongs to
	__u32 to; // vm_in: the queue link; port_in: the VM's link; else 0
};

// Where a VM is. Written by the lab.
struct place {
	__u32 down; // the port whose frames the VM receives; 0 = none
	__u32 up;   // the port that gets the VM's frames; 0 = none
};

// Frames dropped at a link. udp and tcp count first fragments and whole packets.
struct lost {
	__u64 frames;
	__u64 bytes;
	__u64 udp;
	__u64 tcp;
	__u64 other; // fragments after the first, ARP, ICMP, neighbour discovery
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LINKS);
	__type(key, __u32);
	__type(value, struct link);
} links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_LINKS);
	__type(key, __u32);
	__type(value, struct place);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LINKS);
	__type(key, __u32);
	__type(value, struct lost);
} lost_at SEC(".maps");

static __always_inline __u8 protocol(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
			return 0;
		return ip.frag_off & bpf_htons(0x1fff) ? 0 : ip.protocol;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		__u8 frag[8];

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
			return 0;
		if (ip.nexthdr != IPPROTO_FRAGMENT)
			return ip.nexthdr;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), frag, sizeof(frag)) < 0)
			return 0;
		return frag[2] || frag[3] & 0xf8 ? 0 : frag[0];
	}
	return 0;
}

static __always_inline int lose(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	struct lost *l = bpf_map_lookup_elem(&lost_at, &index);

	if (!l)
		return TC_ACT_SHOT;
	__sync_fetch_and_add(&l->frames, 1);
	__sync_fetch_and_add(&l->bytes, skb->len);
	switch (protocol(skb)) {
	case IPPROTO_UDP:
		__sync_fetch_and_add(&l->udp, 1);
		break;
	case IPPROTO_TCP:
		__sync_fetch_and_add(&l->tcp, 1);
		break;
	default:
		__sync_fetch_and_add(&l->other, 1);
	}
	return TC_ACT_SHOT;
}

// A frame from the VM goes through its queue, open or closed, so that order holds.
SEC("tc/vm_in")
int vm_in(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	struct link *l = bpf_map_lookup_elem(&links, &index);

	return l ? bpf_redirect(l->to, 0) : lose(skb);
}

// A frame that has passed the VM's queue goes out at the VM's port.
SEC("tc/park_out")
int park_out(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	struct link *l = bpf_map_lookup_elem(&links, &index);
	struct place *p;
	__u32 vm;

	if (skb->protocol == bpf_htons(PARK_ETHERTYPE))
		return TC_ACT_SHOT;
	if (!l)
		return lose(skb);
	vm = l->vm;
	p = bpf_map_lookup_elem(&places, &vm);
	return p && p->up ? bpf_redirect_peer(p->up, 0) : lose(skb);
}

// A frame from a hypervisor reaches the VM only where the VM is.
SEC("tc/port_in")
int port_in(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	struct link *l = bpf_map_lookup_elem(&links, &index);
	struct place *p;
	__u32 vm;

	if (skb->protocol == bpf_htons(PARK_ETHERTYPE)) // of a Park at the hypervisor
		return TC_ACT_SHOT;
	if (!l)
		return lose(skb);
	vm = l->vm;
	p = bpf_map_lookup_elem(&places, &vm);
	return p && p->down == index ? bpf_redirect_peer(l->to, 0) : lose(skb);
}

char __license[] SEC("license") = "GPL";
