package result

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

func sample() *Run {
	n, us, d := uint64(250), Micros(41500), Millis(1500*time.Millisecond)
	r := &Run{Scenario: "hot-move", Seed: 7, Moves: []Move{
		{VM: "vm1", From: "hvA", To: "hvB", Mode: "hot", Addresses: "keep", Epoch: 2,
			Phases: []Phase{{"prepare", 12}, {"done", 99}}, UDP: UDP{Sent: 10, Received: 9, Lost: 1, Duplicated: 2, Reordered: 3},
			Blackout: Millis(50*ms + 250*time.Microsecond), TCP: TCP{16, 16, Millis(51 * ms), 0},
			NewConnections: NewConnections{50, 40, 9, 1},
			Redirect:       Redirect{Mode: "translated", Packets: &n, Bytes: &n, Placement: "ebpf", Armed: &us, Drained: &d},
			Hold:           Hold{Packets: &n, Max: &d}},
		{VM: "vm1", From: "hvB", To: "hvC", Blackout: Millis(70 * ms), TCP: TCP{Connections: 16, Survived: 15}},
	}}
	r.Summarise()
	return r
}

func TestJSONRoundTrip(t *testing.T) {
	var b bytes.Buffer
	want := sample()
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestSchema holds the names and the order that programs rely on.
func TestSchema(t *testing.T) {
	got, err := json.Marshal(sample().Moves[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"vm":"vm1","from":"hvA","to":"hvB","mode":"hot","addresses":"keep","epoch":2,` +
		`"phases":[{"name":"prepare","at_ns":12},{"name":"done","at_ns":99}],` +
		`"udp":{"sent":10,"received":9,"lost":1,"duplicated":2,"reordered":3},"blackout_ms":50.25,` +
		`"tcp":{"connections":16,"survived":16,"max_stall_ms":51,"timeouts":0},` +
		`"new_connections":{"attempted":50,"accepted":40,"refused":9,"unanswered":1},` +
		`"redirect":{"mode":"translated","packets":250,"bytes":250,"placement":"ebpf","armed_us":41.5,"drained_ms":1500},` +
		`"hold":{"packets":250,"max_ms":1500}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	got, _ = json.Marshal(sample().Summary)
	want = `{"moves":2,"lost":1,"duplicated":2,"survived":15,"connections":16,"p50_blackout_ms":50.25,"p99_blackout_ms":70}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("summary (-want +got)\n%s", d)
	}
	if got, _ := json.Marshal(Hold{}); string(got) != `{"packets":null,"max_ms":null}` {
		t.Errorf("a figure not taken is shown as %s", got)
	}
}

func TestQuantile(t *testing.T) {
	var v []time.Duration
	for i := 100; i >= 1; i-- {
		v = append(v, time.Duration(i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := Quantile(v, q); got != want {
			t.Errorf("Quantile(1..100, %v) = %d, want %d", q, got, want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("no values: %v", got)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hot/keep/translated", "16/16", "50.25ms", "2 moves: 1 lost, 2 duplicated, 15 of 16"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
