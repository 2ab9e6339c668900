package transport

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/dpmip/dpmip/mobility/registration"
)

// BenchmarkLoopback sends signed heartbeats from one node to another over the
// loopback of a namespace, verifies and delivers them: the whole path.
func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		for _, v := range []struct {
			name     string
			from, to netip.Addr
		}{{"raw", addrA, addrM}, {"udp", addrA4, addrM4}} {
			b.Run(fmt.Sprintf("%s/batch=%d", v.name, size), func(b *testing.B) {
				s := newSpace(b, all...)
				m := start(b, s, managementTable(b), func(c *Config) { c.Limits.Messages.PerSecond = -1 }, v.to)
				a := start(b, s, tableOfA(b), nil, v.from)
				benchmark(b, a, m, v.to, size)
			})
		}
	}
}

func benchmark(b *testing.B, a, m *node, to netip.Addr, size int) {
	var batch []registration.Send
	for i := range size {
		batch = append(batch, registration.Send{To: to, Payload: heartbeat(b, uint32(i))})
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := a.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		for range size {
			if got := m.next(b); got.auth != registration.AuthOK {
				b.Fatalf("delivered %v", got.auth)
			}
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "msg/s")
}
