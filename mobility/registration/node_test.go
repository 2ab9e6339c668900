package registration

import (
	"net/netip"
	"testing"
)

var (
	addrM = ip("2001:db8:ff::1")
	addrA = ip("2001:db8:a::1")
	addrB = ip("2001:db8:b::1")
)

// newNode makes a Node of a role at its usual address; change edits its Config.
func newNode(t testing.TB, role Role, change func(*Config)) *Node {
	t.Helper()
	cfg := Config{Role: role, Self: addrA, Management: []netip.Addr{addrM}, Seed: 1, RestartCount: 3}
	if role == RoleManagement {
		cfg.Self = addrM
	}
	if change != nil {
		change(&cfg)
	}
	n, err := NewNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
