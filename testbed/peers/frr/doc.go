// Package frr runs Debian's FRR in a network namespace of the testbed: zebra and
// the routing daemons that a test wants, each a process of its own that can be
// stopped and killed, configured and asked by vtysh.
package frr
