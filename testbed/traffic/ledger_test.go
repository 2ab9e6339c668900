package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// at builds arrivals one millisecond apart, in the order of the numbers given.
func at(seqs ...uint64) (a []arrival) {
	for i, s := range seqs {
		a = append(a, arrival{at: time.Duration(i+1) * ms, seq: s})
	}
	return a
}

func TestAccount(t *testing.T) {
	gap := at(0, 1, 2)
	gap[2].at, gap[2].latency = 52*ms, 50*ms
	for _, c := range []struct {
		name        string
		first, last uint64
		arrivals    []arrival
		slips       []slip
		want        Flow
	}{
		{"all in order", 0, 3, at(0, 1, 2), nil, Flow{Sent: 3, Received: 3, Blackout: ms, BlackoutAt: 2 * ms}},
		{"none", 0, 3, nil, nil, Flow{Sent: 3, Lost: 3}},
		{"one lost", 0, 3, at(0, 2), nil, Flow{Sent: 3, Received: 2, Lost: 1, Blackout: ms, BlackoutAt: 2 * ms}},
		{"twice", 0, 3, at(0, 1, 1, 2), nil, Flow{Sent: 3, Received: 3, Duplicated: 1, Blackout: ms, BlackoutAt: 2 * ms}},
		{"overtaken", 0, 4, at(0, 3, 1, 2), nil, Flow{Sent: 4, Received: 4, Reordered: 2, Blackout: ms, BlackoutAt: 2 * ms}},
		{"late duplicate is not reordered", 0, 3, at(0, 1, 2, 0), nil, Flow{Sent: 3, Received: 3, Duplicated: 1, Blackout: ms, BlackoutAt: 2 * ms}},
		{"window", 2, 4, at(0, 1, 2, 3, 4), nil, Flow{Sent: 2, Received: 2, Blackout: ms, BlackoutAt: 4 * ms}},
		{"window without its first", 2, 4, at(0, 1, 3, 4), nil, Flow{Sent: 2, Received: 1, Lost: 1}},
		{"blackout and hold", 0, 3, gap, nil, Flow{Sent: 3, Received: 3, Blackout: 50 * ms, BlackoutAt: 52 * ms, MaxLatency: 50 * ms}},
		{"sender's own stall", 0, 3, gap, []slip{{1, ms}, {2, 40 * ms}, {3, ms}},
			Flow{Sent: 3, Received: 3, Blackout: 50 * ms, BlackoutAt: 52 * ms, MaxLatency: 50 * ms, Stall: 40 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, account(c.first, c.last, c.arrivals, c.slips)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestDatagram(t *testing.T) {
	b := make([]byte, 4000)
	fill(b, 7, BToA, 1234567, 99*ms)
	if seq, sent, ok := read(b, 7, BToA); !ok || seq != 1234567 || sent != 99*ms {
		t.Errorf("read back %d, %v, %v", seq, sent, ok)
	}
	if _, _, ok := read(b, 8, BToA); ok {
		t.Error("another stream's datagram was taken")
	}
	if _, _, ok := read(b, 7, AToB); ok {
		t.Error("a reflected datagram was taken")
	}
	b[3999] ^= 1
	if _, _, ok := read(b, 7, BToA); ok {
		t.Error("a damaged datagram was taken")
	}
}
