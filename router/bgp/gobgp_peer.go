package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
)

func (c *Config) apiPeer(p *Peer) *api.Peer {
	local := ""
	if p.Local.IsValid() {
		local = p.Local.String()
	}
	out := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.ASN, AuthPassword: p.Password, Description: p.Name},
		Transport: &api.Transport{LocalAddress: local, RemotePort: uint32(port(p.Port)), PassiveMode: p.Passive},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: seconds(p.HoldTime, 90), KeepaliveInterval: max(1, seconds(p.HoldTime, 90)/3), ConnectRetry: seconds(p.ConnectRetry, 5),
			IdleHoldTimeAfterReset: 1,
		}},
	}
	if p.Hops > 0 {
		out.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.Hops)}
	}
	family := &api.AfiSafi{Config: &api.AfiSafiConfig{Family: apiFamily(p.Address), Enabled: true}}
	// One path for a host route: a second one would be of another owner.
	family.AddPaths = &api.AddPaths{Config: &api.AddPathsConfig{Receive: false, SendMax: 0}}
	if p.MaxPrefixes > 0 {
		family.PrefixLimits = &api.PrefixLimit{Family: apiFamily(p.Address), MaxPrefixes: p.MaxPrefixes}
	}
	if c.GracefulRestart {
		// LocalRestarting: our first OPEN says that forwarding went on meanwhile.
		out.GracefulRestart = &api.GracefulRestart{Enabled: true, RestartTime: uint32(c.restartTime() / time.Second), LocalRestarting: true, DeferralTime: 5}
		family.MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
	}
	out.AfiSafis = []*api.AfiSafi{family}
	return out
}

func seconds(d time.Duration, otherwise uint64) uint64 {
	if d == 0 {
		return otherwise
	}
	return max(1, uint64(d/time.Second))
}

func apiFamily(a netip.Addr) *api.Family {
	afi := api.Family_AFI_IP6
	if a.Is4() {
		afi = api.Family_AFI_IP
	}
	return &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}
}

// setPolicies lets a route out to a peer only if it is our own and marked for
// that peer, and takes the marks off.
func (g *GoBGP) setPolicies(ctx context.Context) error {
	policy := &api.Policy{Name: "export"}
	for i := range g.cfg.Peers {
		p := &g.cfg.Peers[i]
		neighbour, mark := fmt.Sprintf("peer-%d", i), fmt.Sprintf("mark-%d", i)
		bits := p.Address.BitLen()
		sets := []*api.DefinedSet{
			{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: neighbour, List: []string{netip.PrefixFrom(p.Address, bits).String()}},
			{DefinedType: api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, Name: mark, List: []string{fmt.Sprintf("^%s$", g.mark(i))}},
		}
		for _, s := range sets {
			if err := g.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: s}); err != nil {
				return fmt.Errorf("peer %q: %s: %w", p.Name, s.Name, err)
			}
		}
		policy.Statements = append(policy.Statements, g.statement(p, neighbour, mark))
	}
	if err := g.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("export policy: %w", err)
	}
	return g.server.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, Policies: []*api.Policy{{Name: "export"}},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

func (g *GoBGP) statement(p *Peer, neighbour, mark string) *api.Statement {
	s := &api.Statement{
		Name: "to-" + neighbour,
		Conditions: &api.Conditions{
			NeighborSet:       &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: neighbour},
			LargeCommunitySet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: mark},
			RouteType:         api.Conditions_ROUTE_TYPE_LOCAL,
		},
		Actions: &api.Actions{
			RouteAction:    api.RouteAction_ROUTE_ACTION_ACCEPT,
			LargeCommunity: &api.CommunityAction{Type: api.CommunityAction_TYPE_REMOVE, Communities: []string{fmt.Sprintf("^%d:%d:.*$", g.cfg.ASN, uint32(reserved))}},
		},
	}
	if p.NoExport {
		s.Actions.Community = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: []string{"no-export"}}
	}
	return s
}

// mark is the reserved large community of the i-th peer.
func (g *GoBGP) mark(i int) Large { return Large{g.cfg.ASN, reserved, uint32(i)} }

// Sessions asks the server about every peer.
func (g *GoBGP) Sessions(ctx context.Context) ([]Session, error) {
	if out, waits := g.waiting(); waits {
		return out, nil
	}
	states := map[netip.Addr]*api.Peer{}
	err := g.server.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		if a, err := netip.ParseAddr(p.GetState().GetNeighborAddress()); err == nil {
			states[a.Unmap()] = p
		}
	})
	if err != nil {
		return nil, fmt.Errorf("bgp: %w", err)
	}
	counts, now := md5Failures(), time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Session
	for _, p := range g.cfg.Peers {
		s := Session{Peer: p, MD5: p.Password != "", State: "unknown"}
		s.Peer.Password = ""
		d := g.down[p.Address]
		if st := states[p.Address]; st != nil && d != nil {
			fill(&s, st, d)
			s.Problem = diagnose(&s, counts.minus(d.md5), now)
		}
		out = append(out, s)
	}
	return out, nil
}

// waiting tells of the sessions before the server runs, which answers nobody then.
func (g *GoBGP) waiting() (out []Session, waits bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.serves {
		return nil, false
	}
	for _, p := range g.cfg.Peers {
		s := Session{Peer: p, MD5: p.Password != "", State: Waiting}
		s.Peer.Password = ""
		if g.missing != nil {
			s.Problem = g.missing.Error()
		}
		out = append(out, s)
	}
	return out, true
}

func fill(s *Session, p *api.Peer, d *downSince) {
	s.State = strings.ToLower(strings.TrimPrefix(p.State.SessionState.String(), "SESSION_STATE_"))
	if p.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT {
		s.State = "prefix limit"
	}
	s.Flaps, s.Down = p.State.Flops, d.reason
	if s.Since = d.at; !d.up.IsZero() {
		s.Since = d.up
	}
	for _, f := range p.AfiSafis {
		s.Received += int(f.GetState().GetReceived())
	}
}

func (m MD5Failures) minus(o MD5Failures) MD5Failures {
	return MD5Failures{m.Missing - o.Missing, m.Unexpected - o.Unexpected, m.Wrong - o.Wrong}
}

// downReason is the protocol's word on why a session is down; empty: none.
func downReason(p *apiutil.Peer) string {
	if p.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT {
		return "the peer sent more prefixes than max_prefixes allows"
	}
	switch p.State.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_UNSPECIFIED, api.PeerState_DISCONNECT_REASON_IDLE_TIMER_EXPIRED: // says only that it tries again
		return ""
	}
	why := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(p.State.DisconnectReason.String(), "DISCONNECT_REASON_")), "_", " ")
	if p.State.DisconnectMessage != "" {
		why += ": " + p.State.DisconnectMessage
	}
	return why
}
