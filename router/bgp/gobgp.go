package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// GoBGP is the Speaker of github.com/osrg/gobgp, in this process and without
// its gRPC interface. Which peer a route is for travels inside it as a reserved
// large community, which the policy of that peer takes off; a route of a peer
// is never given to another.
type GoBGP struct {
	cfg    *Config
	server *server.BgpServer
	log    *slog.Logger
	ended  chan struct{} // of Serve

	mu      sync.Mutex // guards the fields below
	down    map[netip.Addr]*downSince
	missing *MissingError // why Start did not go on; nil: it did, or was not called
	serves  bool
}

// downSince is what was known when a session went down, or was configured.
type downSince struct {
	at     time.Time
	reason string
	md5    MD5Failures
	up     time.Time // zero: it is down
}

// NewGoBGP returns a Speaker of a checked Config that does nothing yet.
func NewGoBGP(cfg *Config, log *slog.Logger) *GoBGP {
	level := &slog.LevelVar{}
	level.Set(slog.LevelWarn) // sessions are reported by Border
	return &GoBGP{cfg: cfg, log: log, server: server.NewBgpServer(server.LoggerOption(log.With("part", "gobgp"), level)),
		ended: make(chan struct{}), down: map[netip.Addr]*downSince{}}
}

// Start begins to speak.
func (g *GoBGP) Start(ctx context.Context, events Events) error {
	lack := missing(ctx, g.cfg.Listen)
	g.mu.Lock()
	g.missing, g.serves = lack, lack == nil
	g.mu.Unlock()
	if lack != nil {
		return lack
	}
	go func() {
		defer close(g.ended)
		g.server.Serve()
	}()
	steps := []func(context.Context) error{
		g.startServer, g.setPolicies, func(ctx context.Context) error { return g.watch(ctx, events) }, g.addPeers,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			g.Stop(ctx, false)
			return fmt.Errorf("bgp: %w", err)
		}
	}
	return nil
}

func (g *GoBGP) startServer(ctx context.Context) error {
	global := &api.Global{Asn: g.cfg.ASN, RouterId: g.cfg.RouterID.String(), ListenPort: -1}
	if len(g.cfg.Listen) > 0 {
		global.ListenPort = int32(port(g.cfg.Port))
		for _, a := range g.cfg.Listen {
			global.ListenAddresses = append(global.ListenAddresses, a.String())
		}
	}
	if err := g.server.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return fmt.Errorf("listening on %v port %d: %w", g.cfg.Listen, port(g.cfg.Port), err)
	}
	return nil
}

func port(p uint16) uint16 {
	if p == 0 {
		return 179
	}
	return p
}

func (g *GoBGP) addPeers(ctx context.Context) error {
	counts := md5Failures()
	for i := range g.cfg.Peers {
		p := &g.cfg.Peers[i]
		g.mu.Lock()
		g.down[p.Address] = &downSince{at: time.Now(), md5: counts}
		g.mu.Unlock()
		if err := g.server.AddPeer(ctx, &api.AddPeerRequest{Peer: g.cfg.apiPeer(p)}); err != nil {
			return fmt.Errorf("peer %q: %w", p.Name, err)
		}
	}
	return nil
}

// watch subscribes to what peers say before GoBGP's own policy, which is left
// empty: the decision is Policy's.
func (g *GoBGP) watch(ctx context.Context, events Events) error {
	return g.server.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPathUpdate: func(paths []*apiutil.Path, _ time.Time) {
			if us := updates(paths); len(us) > 0 {
				events.Updates(us)
			}
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) { events.EndOfRIB(p.PeerAddress.Unmap()) },
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, at time.Time) {
			if e.Type == apiutil.PEER_EVENT_STATE {
				g.peerChanged(&e.Peer, at, events)
			}
		},
	}, server.WatchUpdate(false, "", ""), server.WatchAdjInWithdraw(), server.WatchEor(false), server.WatchPeer())
}

// peerChanged notes how a session comes and goes; only these two are told.
func (g *GoBGP) peerChanged(p *apiutil.Peer, at time.Time, events Events) {
	addr := p.State.NeighborAddress.Unmap()
	g.mu.Lock()
	d := g.down[addr]
	if d == nil {
		g.mu.Unlock()
		return
	}
	was := !d.up.IsZero()
	is := p.State.SessionState == packet.BGP_FSM_ESTABLISHED
	reason := downReason(p)
	switch {
	case is:
		d.up = at
	case was:
		*d = downSince{at: at, reason: reason, md5: md5Failures()}
	case reason != "":
		d.reason = reason // of another try
	}
	g.mu.Unlock()
	if is != was {
		events.State(addr, is, reason)
	}
}

func md5Failures() MD5Failures {
	f, err := os.Open("/proc/net/netstat")
	if err != nil {
		return MD5Failures{}
	}
	defer f.Close()
	counts, err := ReadMD5Failures(f)
	if err != nil {
		return MD5Failures{}
	}
	return counts
}

// Announce gives routes out.
func (g *GoBGP) Announce(as []Announcement) error {
	index := map[string]int{}
	for i := range g.cfg.Peers {
		index[g.cfg.Peers[i].Name] = i
	}
	req := apiutil.AddPathRequest{}
	for i := range as {
		p, err := g.path(&as[i], index)
		if err != nil {
			return err
		}
		req.Paths = append(req.Paths, p)
	}
	answers, err := g.server.AddPath(req)
	if err != nil {
		return err
	}
	for i, a := range answers {
		if a.Error != nil {
			return fmt.Errorf("%s: %w", as[i].Prefix, a.Error)
		}
	}
	return nil
}

// Withdraw takes routes back.
func (g *GoBGP) Withdraw(ps []netip.Prefix) error {
	req := apiutil.DeletePathRequest{}
	for _, p := range ps {
		nlri, err := packet.NewIPAddrPrefix(p)
		if err != nil {
			return err
		}
		req.Paths = append(req.Paths, &apiutil.Path{Family: bgpFamily(p.Addr()), Nlri: nlri, Withdrawal: true})
	}
	return g.server.DeletePath(req)
}

// Stop ends the sessions and waits for the server's goroutines.
func (g *GoBGP) Stop(ctx context.Context, gracefully bool) error {
	err := g.server.StopBgp(ctx, &api.StopBgpRequest{AllowGracefulRestart: gracefully})
	g.server.Stop()
	select {
	case <-g.ended:
	case <-time.After(5 * time.Second):
	}
	return err
}
