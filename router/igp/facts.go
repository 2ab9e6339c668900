package igp

import (
	"context"
	"net/netip"
	"strings"
)

// Facts are what FRR says of itself, as far as it matters to host routes.
type Facts struct {
	Config string                   // "show running-config"
	OSPF   map[Protocol]SPF         // of those that run
	Peers  []Neighbour              // of all protocols
	MTU    map[string]int           // of interfaces that a protocol uses
	Zebra  map[netip.Prefix][]Route // what it has for the routes asked about
	LSPGap map[string]int           // IS-IS: seconds between two generations of an LSP, by area
}

// SPF are the timers of an OSPF, in milliseconds.
type SPF struct {
	Delay      int `json:"spfScheduleDelayMsecs"`
	MinArrival int `json:"lsaMinArrivalMsecs"`
	Minimum    int `json:"lsaMinimumArrivalMsecs"` // OSPFv3's word
}

// minArrival is the one of the two that this OSPF has.
func (s SPF) minArrival() int { return max(s.MinArrival, s.Minimum) }

// Neighbour is a router next to us.
type Neighbour struct {
	Protocol  Protocol
	Name      string
	Interface string
	State     string // the protocol's own word: "Full", "ExStart", "Up", "Established"
}

// up tells whether routes pass.
func (n *Neighbour) up() bool {
	for _, word := range []string{"Full", "Up", "Established", "2-Way"} {
		if strings.HasPrefix(n.State, word) {
			return true
		}
	}
	return false
}

// stuck tells of the state that a smaller MTU on one side leads to: database
// descriptions are refused (RFC 2328 section 10.6).
func (n *Neighbour) stuck() bool {
	return strings.HasPrefix(n.State, "ExStart") || strings.HasPrefix(n.State, "Exchange")
}

// Gather asks FRR for the facts; samples are some of the host routes held.
func Gather(ctx context.Context, s Shell, o *Options, samples []netip.Prefix) (*Facts, error) {
	config, err := s.Show(ctx, "show running-config")
	if err != nil {
		return nil, err
	}
	f := &Facts{Config: string(config), OSPF: map[Protocol]SPF{}, MTU: map[string]int{}, Zebra: map[netip.Prefix][]Route{}, LSPGap: map[string]int{}}
	gather := map[Protocol]func(context.Context, Shell) error{OSPF3: f.ospf3, OSPF2: f.ospf2, ISIS: f.isis, BGP: f.bgp}
	for _, p := range o.Protocols {
		if err := gather[p](ctx, s); err != nil {
			return nil, err
		}
	}
	for _, p := range samples {
		if f.Zebra[p], err = Routes(ctx, s, p); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Facts) ospf3(ctx context.Context, s Shell) error {
	var spf SPF
	ok, err := ask(ctx, s, "show ipv6 ospf6 json", &spf)
	if err != nil || !ok {
		return err
	}
	f.OSPF[OSPF3] = spf
	var ns struct {
		Neighbors []struct {
			ID        string `json:"neighborId"`
			State     string `json:"state"`
			Interface string `json:"interfaceName"`
		} `json:"neighbors"`
	}
	if _, err := ask(ctx, s, "show ipv6 ospf6 neighbor json", &ns); err != nil {
		return err
	}
	for _, n := range ns.Neighbors {
		f.Peers = append(f.Peers, Neighbour{OSPF3, n.ID, n.Interface, n.State})
	}
	ifs := map[string]struct {
		MTU int `json:"interfaceMtu"`
	}{}
	_, err = ask(ctx, s, "show ipv6 ospf6 interface json", &ifs)
	for name, i := range ifs {
		f.MTU[name] = i.MTU
	}
	return err
}

func (f *Facts) ospf2(ctx context.Context, s Shell) error {
	var spf SPF
	ok, err := ask(ctx, s, "show ip ospf json", &spf)
	if err != nil || !ok {
		return err
	}
	f.OSPF[OSPF2] = spf
	var ns struct {
		Neighbors map[string][]struct {
			State     string `json:"nbrState"`
			Interface string `json:"ifaceName"`
		} `json:"neighbors"`
	}
	if _, err := ask(ctx, s, "show ip ospf neighbor json", &ns); err != nil {
		return err
	}
	for id, list := range ns.Neighbors {
		for _, n := range list {
			name, _, _ := strings.Cut(n.Interface, ":")
			f.Peers = append(f.Peers, Neighbour{OSPF2, id, name, n.State})
		}
	}
	var ifs struct {
		Interfaces map[string]struct {
			MTU int `json:"mtuBytes"`
		} `json:"interfaces"`
	}
	_, err = ask(ctx, s, "show ip ospf interface json", &ifs)
	for name, i := range ifs.Interfaces {
		f.MTU[name] = i.MTU
	}
	return err
}

func (f *Facts) isis(ctx context.Context, s Shell) error {
	var ns struct {
		Areas []struct {
			Circuits []struct {
				Adjacency string `json:"adj"`
				Interface string `json:"interface"`
				State     string `json:"state"`
			} `json:"circuits"`
		} `json:"areas"`
	}
	if _, err := ask(ctx, s, "show isis neighbor json", &ns); err != nil {
		return err
	}
	for _, a := range ns.Areas {
		for _, c := range a.Circuits {
			if c.Adjacency != "" {
				f.Peers = append(f.Peers, Neighbour{ISIS, c.Adjacency, c.Interface, c.State})
			}
		}
	}
	var sum struct {
		Areas []struct {
			Area   string `json:"area"`
			Levels []struct {
				Minimum int `json:"minimum-interval"`
			} `json:"levels"`
		} `json:"areas"`
	}
	_, err := ask(ctx, s, "show isis summary json", &sum)
	for _, a := range sum.Areas {
		for _, l := range a.Levels {
			f.LSPGap[a.Area] = max(f.LSPGap[a.Area], l.Minimum)
		}
	}
	return err
}

func (f *Facts) bgp(ctx context.Context, s Shell) error {
	families := map[string]struct {
		Peers map[string]struct {
			State string `json:"state"`
		} `json:"peers"`
	}{}
	_, err := ask(ctx, s, "show bgp summary json", &families)
	seen := map[string]bool{}
	for _, family := range families {
		for name, p := range family.Peers {
			if !seen[name] {
				seen[name] = true
				f.Peers = append(f.Peers, Neighbour{BGP, name, "", p.State})
			}
		}
	}
	return err
}
