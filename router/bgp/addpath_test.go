package bgp

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// TestOpenOffersNoAddPath reads the OPEN that goes out on the wire (RFC 7911
// section 4); with the setting turned round the capability is there, so the
// test sees one if there is one. One server after another: GoBGP keeps options
// of route selection in variables of its package.
func TestOpenOffersNoAddPath(t *testing.T) {
	for _, c := range []struct {
		name string
		turn func(*api.Peer)
		want bool
	}{
		{"as configured", func(*api.Peer) {}, false},
		{"receive turned on", func(p *api.Peer) { p.AfiSafis[0].AddPaths.Config.Receive = true }, true},
		{"send turned on", func(p *api.Peer) { p.AfiSafis[0].AddPaths.Config.SendMax = 2 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			at := listener.Addr().(*net.TCPAddr).AddrPort()
			cfg := &Config{ASN: 65001, RouterID: netip.MustParseAddr("10.0.0.1"), GracefulRestart: true}
			peer := cfg.apiPeer(&Peer{Name: "listener", Address: at.Addr(), Port: at.Port(), ASN: 65002, Hops: 2, ConnectRetry: time.Second})
			c.turn(peer)
			speak(t, cfg, peer)
			caps := capabilities(t, listener)
			if !caps[packet.BGP_CAP_GRACEFUL_RESTART] || !caps[packet.BGP_CAP_MULTIPROTOCOL] {
				t.Errorf("capabilities %v: this is not our OPEN", caps)
			}
			if caps[packet.BGP_CAP_ADD_PATH] != c.want {
				t.Errorf("add-path in the OPEN: %v, want %v", !c.want, c.want)
			}
		})
	}
}

// speak runs a server with one peer until the test ends.
func speak(t *testing.T, cfg *Config, peer *api.Peer) {
	t.Helper()
	s := server.NewBgpServer(server.LoggerOption(slog.New(slog.DiscardHandler), &slog.LevelVar{}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve()
	}()
	ctx := context.Background() // t.Context ends before the clean-up
	t.Cleanup(func() {
		if err := s.StopBgp(ctx, &api.StopBgpRequest{}); err != nil {
			t.Error(err)
		}
		s.Stop()
		<-ended
	})
	global := &api.Global{Asn: cfg.ASN, RouterId: cfg.RouterID.String(), ListenPort: -1}
	if err := s.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddPeer(ctx, &api.AddPeerRequest{Peer: peer}); err != nil {
		t.Fatal(err)
	}
}

// capabilities are those of the first message on the first connection.
func capabilities(t *testing.T, l net.Listener) map[packet.BGPCapabilityCode]bool {
	t.Helper()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	b = append(b, make([]byte, int(binary.BigEndian.Uint16(b[16:]))-len(b))...)
	if _, err := io.ReadFull(conn, b[packet.BGP_HEADER_LENGTH:]); err != nil {
		t.Fatal(err)
	}
	m, err := packet.ParseBGPMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	open, ok := m.Body.(*packet.BGPOpen)
	if !ok {
		t.Fatalf("the first message is a %T", m.Body)
	}
	out := map[packet.BGPCapabilityCode]bool{}
	for _, p := range open.OptParams {
		if caps, ok := p.(*packet.OptionParameterCapability); ok {
			for _, c := range caps.Capability {
				out[c.Code()] = true
			}
		}
	}
	return out
}
