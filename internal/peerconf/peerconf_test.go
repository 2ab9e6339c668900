package peerconf_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

type config struct {
	Management []peerconf.Management `toml:"management"`
}

const good = `[[management]]
locator = "2001:db8::1"
keys = [{ send = 300, receive = 301, key = "hex:000102030405060708090a0b0c0d0e0f" },
        { send = 302, receive = 303, algorithm = "hmac-sha1-96", key = "hex:0f0e0d0c0b0a09080706050403020100" }]
`

// TestPeers: the first key is sent with, all are accepted.
func TestPeers(t *testing.T) {
	t.Parallel()
	var c config
	src, err := strictconf.Parse("c.toml", []byte(good), &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := peerconf.Check(src, c.Management, false); err != nil {
		t.Fatal(err)
	}
	first := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	second := []byte{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}
	want := []transport.Peer{{
		Addr: netip.MustParseAddr("2001:db8::1"), Send: transport.Key{SPI: 300, Algorithm: wire.HMACSHA256, Secret: first},
		Receive: []transport.Key{{SPI: 301, Algorithm: wire.HMACSHA256, Secret: first}, {SPI: 303, Algorithm: wire.HMACSHA1, Secret: second}},
	}}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if d := cmp.Diff(want, peerconf.Peers(c.Management), same); d != "" {
		t.Errorf("peers (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]netip.Addr{want[0].Addr}, peerconf.Locators(c.Management), same); d != "" {
		t.Errorf("locators (-want +got)\n%s", d)
	}
}

// TestErrorsNameThePlace: what is wrong is named with its line.
func TestErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"algorithm": {`"hmac-sha1-96"`, `"md5"`, `c.toml:4: management[0].keys[1].algorithm: "md5" is not known, want hmac-sha256 or hmac-sha1-96`},
		"no key":    {`keys =`, "keys = []\n#", "c.toml:3: management[0].keys: is empty: without a key nothing is accepted"},
		"SPI twice": {`303`, `301`, "c.toml: management: transport: peer 2001:db8::1: SPI 301 is in use already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(good, c.old, c.new, 1)
			if name == "no key" {
				text = strings.Split(text, "\n#")[0] + "\n"
			}
			var got config
			src, err := strictconf.Parse("c.toml", []byte(text), &got)
			if err == nil {
				err = peerconf.Check(src, got.Management, false)
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
