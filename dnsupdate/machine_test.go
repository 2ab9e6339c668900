package dnsupdate

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dpmip/dpmip/mobility"
)

// play drives a Machine by hand; the effects of each call are one line.
type play struct {
	t   *testing.T
	m   *Machine
	now time.Time
	out []Effect
	try Try // of the newest read, write or prove
	job Job // of the newest report
}

var epoch0 = time.Unix(1_800_000_000, 0)

func newPlay(t *testing.T) *play {
	return &play{t: t, m: NewMachine(Timing{First: 100 * time.Millisecond, Max: 10 * time.Second, Proof: time.Second, ProofLimit: 30 * time.Second}), now: epoch0}
}

func job(version Version) Job {
	return NewJob([]Update{{Zone: "example.", VM: mobility.NAI("vm1"), Version: version, Items: []Item{{Name: "a.example."}}}}, time.Time{})
}

// expect compares the effects with words.
func (p *play) expect(effects []Effect, want string) {
	p.t.Helper()
	p.out = effects
	var words []string
	for _, e := range effects {
		switch e := e.(type) {
		case Read:
			p.try = e.Try
			words = append(words, fmt.Sprintf("read(%d,%d)", e.Server, e.Key))
		case Write:
			p.try = e.Try
			words = append(words, fmt.Sprintf("write(%d)", len(e.Stored)))
		case Prove:
			p.try = e.Try
			words = append(words, "prove")
		case Report:
			p.job = e.Job
			words = append(words, e.Job.Zones[0].Phase.String())
		}
	}
	if got := strings.Join(words, " "); got != want {
		p.t.Fatalf("effects %q, want %q", got, want)
	}
}

func (p *play) submit(j Job, want string) {
	p.t.Helper()
	effects, err := p.m.Submit(p.now, j)
	if err != nil {
		p.t.Fatal(err)
	}
	p.expect(effects, want)
}

func (p *play) step(r Result, want string) {
	p.t.Helper()
	p.expect(p.m.Step(p.now, r), want)
}

func (p *play) fail(k FailureKind, servers, keys int, want string) {
	p.t.Helper()
	p.step(TryFailed{p.try, Failure{Kind: k, Zone: "example.", Detail: "test"}, servers, keys}, want)
}

// wait goes to the next due time, which must be within +-10 % of d from now.
func (p *play) wait(d time.Duration, want string) {
	p.t.Helper()
	next, ok := p.m.Next()
	if got := next.Sub(p.now); !ok || got < d*9/10 || got > d*11/10 {
		p.t.Fatalf("next in %v (%v), want about %v", got, ok, d)
	}
	p.expect(p.m.Tick(next.Add(-1)), "")
	p.now = next
	p.expect(p.m.Tick(p.now), want)
}

func older(v Version) Stored {
	return Stored{"_dpmip-epoch.a.example.": {EpochRecord{mobility.NAI("vm1"), v, false}.Text()}}
}

var (
	proof   = []Proof{{Zone: "example.", Server: netip.MustParseAddrPort("10.0.0.2:53"), Serial: 2, Wanted: 2}}
	noProof = []Proof{{Zone: "example.", Server: netip.MustParseAddrPort("10.0.0.2:53"), Serial: 1, Wanted: 2, Missing: "serial 1"}}
)

func TestMachineSucceeds(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	p.step(ReadDone{p.try, older(Version{1, 1})}, "write(1)")
	p.fail(FailurePrerequisite, 1, 1, "read(0,0)")
	p.step(ReadDone{p.try, older(Version{1, 2})}, "write(1)")
	p.step(WriteDone{p.try}, "prove proving")
	p.step(ProveDone{p.try, noProof}, "waiting")
	p.wait(100*time.Millisecond, "read(0,0)")
	p.step(ReadDone{p.try, older(Version{2, 1})}, "prove")
	p.step(ProveDone{p.try, proof}, "proved")
	if err := p.job.Err(); err != nil || !p.job.Zones[0].Written || len(p.m.Jobs()) != 0 {
		t.Errorf("job %+v, %v, %d left", p.job, err, len(p.m.Jobs()))
	}
	p.step(ProveDone{p.try, proof}, "")
}

func TestMachineLoses(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	p.step(ReadDone{p.try, older(Version{1, 1})}, "write(1)")
	p.fail(FailurePrerequisite, 1, 1, "read(0,0)")
	p.step(ReadDone{p.try, older(Version{3, 1})}, "stale")
	if err := p.job.Err(); !errors.Is(err, ErrStale) || p.job.Zones[0].Written {
		t.Errorf("err %v", err)
	}
}

// TestMachineRaces: a prerequisite that is never met is not tried in a tight loop
// for ever.
func TestMachineRaces(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	for range maxRaces {
		p.step(ReadDone{p.try, nil}, "write(0)")
		p.fail(FailurePrerequisite, 1, 1, "read(0,0)")
	}
	p.step(ReadDone{p.try, nil}, "write(0)")
	p.fail(FailurePrerequisite, 1, 1, "waiting")
}

func TestMachineBacksOff(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	for i, d := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		p.fail(FailureTimeout, 2, 1, fmt.Sprintf("read(%d,0)", 2*i+1)) // the second server
		p.fail(FailureUnreachable, 2, 1, "waiting")
		p.wait(d*time.Millisecond, fmt.Sprintf("read(%d,0)", 2*i+2))
	}
}

func TestMachineKeys(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	p.fail(FailureKey, 1, 2, "read(0,1)")
	p.fail(FailureKey, 1, 2, "waiting")
	p.wait(10*time.Second, "read(0,2)")
	p.fail(FailureClock, 1, 2, "waiting")
	p.wait(10*time.Second, "read(0,2)")
	p.step(ReadDone{p.try, nil}, "write(0)")
	p.fail(FailureRefused, 1, 2, "waiting")
	p.wait(10*time.Second, "read(0,2)")
}

func TestMachineGivesUp(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	j := job(Version{2, 1})
	j.GiveUp = epoch0.Add(150 * time.Millisecond)
	p.submit(j, "read(0,0) reading")
	p.fail(FailureTimeout, 1, 1, "waiting")
	p.wait(100*time.Millisecond, "read(1,0)")
	p.fail(FailureTimeout, 1, 1, "waiting")
	next, _ := p.m.Next()
	if !next.Equal(j.GiveUp) {
		t.Errorf("next at %v, want the end of the job", next)
	}
	p.expect(p.m.Tick(next), "failed")
	var f *Failure
	if !errors.As(p.job.Err(), &f) || f.Kind != FailureTimeout {
		t.Errorf("err %v", p.job.Err())
	}
}

func TestMachineUnproved(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	p.step(ReadDone{p.try, nil}, "write(0)")
	p.step(WriteDone{p.try}, "prove proving")
	p.now = p.now.Add(31 * time.Second)
	p.step(ProveDone{p.try, noProof}, "unproved")
	if err := p.job.Err(); err == nil || !strings.Contains(err.Error(), "not seen at 10.0.0.2:53: serial 1") {
		t.Errorf("err %v", err)
	}
}

func TestMachineSupersedes(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.submit(job(Version{2, 1}), "read(0,0) reading")
	first := p.try
	p.submit(job(Version{2, 1}), "")
	p.submit(job(Version{2, 2}), "superseded read(0,0) reading")
	p.step(ReadDone{first, nil}, "")
	if _, err := p.m.Submit(p.now, job(Version{1, 9})); !errors.Is(err, ErrStale) {
		t.Errorf("an older job: %v", err)
	}
	if got := p.m.Jobs(); len(got) != 1 || got[0].Version != (Version{2, 2}) {
		t.Errorf("jobs %+v", got)
	}
	if _, err := p.m.Submit(p.now, Job{VM: mobility.NAI("x")}); err == nil {
		t.Error("a job without zones was accepted")
	}
}

// TestTakenOver goes on from JSON in every phase.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	f := &Failure{Kind: FailureClock, Zone: "example.", Server: nowhere, Key: "k.", Detail: "off", Skew: -10 * time.Minute}
	for phase := PhaseWaiting; phase <= PhaseSuperseded; phase++ {
		j := job(Version{2, 1})
		j.GiveUp = epoch0.Add(time.Hour).UTC()
		j.Zones[0].Phase, j.Zones[0].Failure, j.Zones[0].Proofs = phase, f, proof
		b, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		var got Job
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(j, got, cmpopts.IgnoreUnexported(ZoneJob{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", phase, d)
		}
		want := "read(0,0) reading"
		if phase.Final() {
			want = phase.String()
		}
		newPlay(t).submit(got, want)
	}
}

func TestProofCompares(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b uint32
		want bool
	}{{1, 1, true}, {2, 1, true}, {1, 2, false}, {0, 1<<32 - 1, true}, {1<<32 - 1, 0, false}} {
		if got := serialReached(tt.a, tt.b); got != tt.want {
			t.Errorf("serialReached(%d, %d) = %v", tt.a, tt.b, got)
		}
	}
	exact := Want{Name: "a.", Type: "A", Exact: true, Present: []string{"10.0.0.1"}}
	open := Want{Name: "a.", Type: "A", Present: []string{"10.0.0.1"}, Absent: []string{"10.0.0.2"}}
	for _, tt := range []struct {
		w    Want
		data string
		want string
	}{
		{exact, "10.0.0.1", ""}, {exact, "", "a. A lacks 10.0.0.1"}, {exact, "10.0.0.1 10.0.0.3", "a. A still has 10.0.0.3"},
		{open, "10.0.0.1 10.0.0.3", ""}, {open, "10.0.0.2 10.0.0.1", "a. A still has 10.0.0.2"},
	} {
		if got := tt.w.check(Answer{Data: strings.Fields(tt.data)}); got != tt.want {
			t.Errorf("%+v with %s: %q, want %q", tt.w, tt.data, got, tt.want)
		}
	}
}
