// Package topology is the lab's data centre: a Plan says what there is, Up
// builds it in network namespaces, with static routes, in about a second.
//
//	               cn  (correspondent node, outside)
//	               |
//	mgmt -------- spine
//	             /     \
//	          torA     torB
//	           |       /   \
//	          hvA    hvB   hvC          each: fab0 upwards, one port per VM
//	            \     |     /
//	             sw (switch: each VM connected to one port at a time)
//	            /  |   |   \
//	          vm1 vm2 vm3 vm4
//
// Addresses of hypervisor X (x = a, b, c; n = 1, 2, 3):
//
//	locator           2001:db8:x::1           10.n.0.1         on fab0; the ToR is ::fe, .254
//	aggregate         2001:db8:x::/48         10.n.0.0/16      what ToR and spine route to it
//	VM range          2001:db8:x:1::/64       10.n.1.0/24
//	delivery pool     2001:db8:x:d::/64       10.n.200.0/24
//
// mgmt is 2001:db8:ff::1 and 10.255.0.1, cn is 2001:db8:cafe::10 and 192.0.2.10.
// Routers have locators on lo: torA 2001:db8:0:a::1 / 10.0.10.1, torB
// 2001:db8:0:b::1 / 10.0.11.1, spine 2001:db8:0:f::1 / 10.0.15.1.
//
// A VM has its addresses as /128 and /32 and the gateways fe80::1 and
// 169.254.1.1. The hypervisor's side of these (gateway addresses and MAC, routes
// to its VMs, unreachable routes for its own prefixes) is an agent's work and is
// left out by Up; Lab.Serve does it by hand for tests without agents.
package topology
