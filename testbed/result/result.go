package result

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Run is one run of a scenario.
type Run struct {
	Scenario string `json:"scenario"`
	Seed     uint64 `json:"seed"`
	Moves    []Move `json:"moves"`
	// Windows are stretches of time in which something else than a move was done
	// to the network.
	Windows []Window `json:"windows,omitempty"`
	Loops   *Loops   `json:"loops,omitempty"` // nil where nobody looked
	Paths   *Paths   `json:"paths,omitempty"` // nil where agents have no filters
	Summary Summary  `json:"summary"`
}

// Loops are the datagrams that went in a circle, as captures saw them.
type Loops struct {
	Datagrams int `json:"datagrams"`
	Most      int `json:"most"` // times that one of them passed the same link
}

// Paths are the packets of VMs by the rules that agents had when the last move
// was over, as the agents tell them.
type Paths struct {
	Fast uint64 `json:"fast"` // by filters
	Slow uint64 `json:"slow"` // past them
}

// Window is what the endpoints counted between two moments.
type Window struct {
	Name     string `json:"name"`
	Length   Millis `json:"length_ms"`
	UDP      UDP    `json:"udp"`
	Blackout Millis `json:"blackout_ms"` // largest silence of a stream, either way
	TCP      TCP    `json:"tcp"`
}

// Move is one move of one VM.
type Move struct {
	VM             string         `json:"vm"`
	From           string         `json:"from"`      // source hypervisor
	To             string         `json:"to"`        // destination hypervisor
	Mode           string         `json:"mode"`      // hot, warm, cold
	Addresses      string         `json:"addresses"` // keep, renumber
	Epoch          uint32         `json:"epoch"`
	Phases         []Phase        `json:"phases"`
	UDP            UDP            `json:"udp"`
	Blackout       Millis         `json:"blackout_ms"` // largest silence of a stream, either way
	TCP            TCP            `json:"tcp"`
	NewConnections NewConnections `json:"new_connections"`
	Redirect       Redirect       `json:"redirect"`
	Hold           Hold           `json:"hold"`
	Direct         []Share        `json:"direct,omitempty"` // new connections by name; only of renumber
}

// Share counts the new connections by name that began in a span of time.
type Share struct {
	At         Millis `json:"at_ms"` // since COMMIT
	Length     Millis `json:"length_ms"`
	Attempted  int    `json:"attempted"`
	Direct     int    `json:"direct"`     // accepted at an address that the VM got by the move
	Redirected int    `json:"redirected"` // accepted at one that it had before
	Failed     int    `json:"failed"`
}

// Phase is a step of a move and when it was reached.
type Phase struct {
	Name string `json:"name"`
	At   int64  `json:"at_ns"` // since the start of the run
}

// UDP sums the numbered streams, both ways.
type UDP struct {
	Sent       uint64 `json:"sent"`
	Received   uint64 `json:"received"` // different numbers
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
}

// TCP sums the long-lived connections.
type TCP struct {
	Connections int    `json:"connections"`
	Survived    int    `json:"survived"`
	MaxStall    Millis `json:"max_stall_ms"`
	Timeouts    uint64 `json:"timeouts"` // retransmission time-outs
}

// NewConnections sums the attempts of the move's window.
type NewConnections struct {
	Attempted  int `json:"attempted"`
	Accepted   int `json:"accepted"`
	Refused    int `json:"refused"`
	Unanswered int `json:"unanswered"`
}

// Redirect is what the source reports.
type Redirect struct {
	Mode      string  `json:"mode"` // routed, translated
	Packets   *uint64 `json:"packets"`
	Bytes     *uint64 `json:"bytes"`
	Placement string  `json:"placement"`  // where the rule sits
	Armed     *Micros `json:"armed_us"`   // how long arming took
	Drained   *Millis `json:"drained_ms"` // from COMMIT to the end of the drain; null while not drained
}

// Hold is what the destination reports.
type Hold struct {
	Packets *uint64 `json:"packets"`
	Max     *Millis `json:"max_ms"` // longest time that a packet was held
}

// Summary sums a run up.
type Summary struct {
	Moves       int    `json:"moves"`
	Lost        uint64 `json:"lost"`
	Duplicated  uint64 `json:"duplicated"`
	Survived    int    `json:"survived"`    // least of all moves
	Connections int    `json:"connections"` // that the run opened
	P50Blackout Millis `json:"p50_blackout_ms"`
	P99Blackout Millis `json:"p99_blackout_ms"`
}

// Summarise fills the summary from the moves.
func (r *Run) Summarise() {
	s := Summary{Moves: len(r.Moves)}
	var blackouts []time.Duration
	for i, m := range r.Moves {
		s.Lost += m.UDP.Lost
		s.Duplicated += m.UDP.Duplicated
		s.Connections = max(s.Connections, m.TCP.Connections)
		if i == 0 || m.TCP.Survived < s.Survived {
			s.Survived = m.TCP.Survived
		}
		blackouts = append(blackouts, time.Duration(m.Blackout))
	}
	s.P50Blackout = Millis(Quantile(blackouts, 0.50))
	s.P99Blackout = Millis(Quantile(blackouts, 0.99))
	r.Summary = s
}

// WriteFile writes the run as indented JSON; "-" is standard output.
func (r *Run) WriteFile(path string) error {
	if path == "-" {
		return r.Write(os.Stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	if err := r.Write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Write writes the run as indented JSON.
func (r *Run) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return nil
}

// Read reads what Write wrote and refuses unknown fields.
func Read(rd io.Reader) (*Run, error) {
	d := json.NewDecoder(rd)
	d.DisallowUnknownFields()
	r := &Run{}
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return r, nil
}
