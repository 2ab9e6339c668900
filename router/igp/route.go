package igp

import (
	"context"
	"net/netip"
)

// Route is one of zebra's routes for a prefix.
type Route struct {
	Protocol  string `json:"protocol"`
	Selected  bool   `json:"selected"`
	Installed bool   `json:"installed"`
	Distance  int    `json:"distance"`
	Metric    int    `json:"metric"`
	Uptime    string `json:"uptime"`
	NextHops  []struct {
		FIB       bool       `json:"fib"`
		Gateway   netip.Addr `json:"ip"`
		Interface string     `json:"interfaceName"`
		Active    bool       `json:"active"`
	} `json:"nexthops"`
}

// Routes asks zebra for its routes of exactly this prefix, whoever they are
// from; none is no error.
func Routes(ctx context.Context, s Shell, p netip.Prefix) ([]Route, error) {
	word := "ipv6"
	if p.Addr().Is4() {
		word = "ip"
	}
	found := map[string][]Route{}
	if _, err := ask(ctx, s, "show "+word+" route "+p.String()+" json", &found); err != nil {
		return nil, err
	}
	return found[p.String()], nil
}

// Installed asks a far router whose FRR alone runs there whether the prefix is
// in its kernel.
func Installed(ctx context.Context, s Shell, p netip.Prefix) (bool, error) {
	rs, err := Routes(ctx, s, p)
	for _, r := range rs {
		if r.Selected && r.Installed {
			return true, nil
		}
	}
	return false, err
}
