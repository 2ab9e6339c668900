/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Layouts shared with Go (layout.go): change both, and raise layoutVersion. */
#ifndef DPMIP_TYPES_H
#define DPMIP_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_LEN 14
#define ETH_IP 0x0800
#define ETH_ARP 0x0806
#define ETH_IP6 0x86dd

#define IP_TCP 6
#define IP_UDP 17
#define IP_ICMP 1
#define IP_ICMP6 58
#define IP_UDPLITE 136

#define ACT_NEXT -1 /* TCX_NEXT, TC_ACT_UNSPEC: not ours */
#define ACT_OK 0
#define ACT_SHOT 2

/* An IPv6 address, or an IPv4 address mapped into ::ffff:0:0/96. */
struct addr {
	union {
		__u8 b[16];
		__be32 w[4];
		__u64 d[2];
	};
};

enum kind { /* as hwabstraction.Kind */
	KIND_FREE = 0,
	KIND_HOST_ROUTE = 1,
	KIND_REDIRECT = 2,
	KIND_DELIVER = 3,
	KIND_EGRESS = 4,
	KIND_TRAP = 5,
	KIND_UNREACHABLE = 6,
};

#define RULE_HOLD 1

enum policy { NEW_REDIRECT, NEW_DROP, NEW_REJECT };

/* One rule. User space writes a slot before it is published in dst, egress or
 * traps and never afterwards, until a grace period has passed; only tat is
 * written here. */
struct rule {
	__u8 kind;
	__u8 flags;
	__u8 policy;
	__u8 proto;
	__u32 inst;
	struct addr addr;
	struct addr to;
	struct addr locator;
	__u8 owner[16];
	__u32 epoch;
	__u32 ifindex;
	__u8 mac[6];
	__u16 mtu;
	char port[16];
	__u32 rate;
	__u16 zone;
	__u8 bits;
	__u8 used;
	__u64 tat; /* trap: theoretical arrival time of the next packet, ns */
	__u32 counter;
	__u16 dst_port; /* trap */
	__u16 pad;
};

#define INST_ARMED 1
#define INST_ACTIVE 2
#define INST_RETURNING 4
#define INST_HOLD 8      /* packets pass through the group's ifb */
#define INST_OVERFLOW 16 /* not all flows were loaded: unknown ones pass */

/* One group. state is written by user space only, in one aligned store. */
struct inst {
	__u32 state;
	__u32 hold_ifindex;
	__u8 owner[16];
	__u32 epoch;
	__u32 used;
	__u64 armed_at;
	__u64 first_hit;
	__u32 limit_packets;
	__u32 limit_bytes;
	__u64 limit_ns;
	__u64 held;
	__u64 held_bytes;
	__u64 hold_drops;
	__u64 first_held;
	__u64 released_at;
	__u64 entered; /* packets sent into the ifb */
	__u64 left;    /* user space: of these have left it, as it has seen */
	__u32 flows;
	__u32 serial; /* of this use of the element: keys flows and judged */
	__u64 wall;   /* user space: CLOCK_REALTIME - CLOCK_MONOTONIC when armed */
	__u32 cpu;    /* that the last packet entered on */
	__u32 pad;
};

/* What stands at one address: slots, 0 = none. */
struct dst {
	__u32 redirect;
	__u32 deliver;
	__u32 traps;
};

struct counter {
	__u64 packets;
	__u64 bytes;
	__u64 last;
};

/* Where the FIB sent packets for an address, a moment ago. */
struct hop {
	struct addr to;
	__u64 at;
	__u32 ifindex;
	__u16 mtu;
	__u8 dmac[6];
	__u8 smac[6];
	__u8 pad[6];
};

struct egress_key {
	struct addr addr;
	__u32 ifindex;
	__u32 pad;
};

struct trap_key {
	struct addr addr;
	__u32 class; /* protocol | destination port << 16 */
	__u32 pad;
};

struct port {
	__u8 mac[6];
	__u16 pad;
};

struct flow_key {
	struct addr vm;
	struct addr peer;
	__u32 serial;
	__u16 vm_port;
	__u16 peer_port;
	__u32 proto;
	__u32 pad;
};

struct frag_key {
	struct addr src;
	struct addr dst;
	__u32 id;
	__u32 proto;
};

enum drop {
	DROP_SOURCE_GUARD,
	DROP_HOLD_FULL,
	DROP_NEW_FLOW,
	DROP_HOP_LIMIT,
	DROP_NO_ROUTE,
	DROP_TOO_BIG,
	DROP_TRAP_RATE,
	DROP_TRAP_FULL,
	DROP_MALFORMED,
	COUNT_FLOW_OVERFLOW, /* not dropped: redirected unjudged */
	DROP_REASONS,
};

#define TRAP_MAX 2048

struct trapped {
	__u32 slot;
	__u32 len;
	__u8 data[TRAP_MAX];
};

/* What the program knows of one packet. */
enum frag { FRAG_NONE, FRAG_FIRST, FRAG_LATER };

struct pkt {
	struct addr src;
	struct addr dst;
	__u32 len;  /* of the largest packet on the wire, from the IP header */
	__u32 l4;   /* offset of the transport header from the frame's start */
	__u32 id;   /* fragment identification */
	__u8 v6;
	__u8 proto;
	__u8 frag;
	__u8 ttl;
	__u8 from_vm;
};

#endif
