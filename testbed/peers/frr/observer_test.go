package frr_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/frr"
)

// judge is the management node's half of proofs: it gives tasks and takes
// reports.
type judge struct {
	dpmipv1connect.UnimplementedReportServiceHandler
	tasks   map[string]chan *v1.ProofTask // by node
	reports chan *v1.ReportProofRequest
}

func (j *judge) WatchProofs(ctx context.Context, r *connect.Request[v1.WatchProofsRequest], stream *connect.ServerStream[v1.ProofTask]) error {
	if err := stream.Send(nil); err != nil {
		return err
	}
	for {
		select {
		case t := <-j.tasks[r.Msg.Node]:
			if err := stream.Send(t); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (j *judge) ReportProof(_ context.Context, r *connect.Request[v1.ReportProofRequest]) (*connect.Response[v1.ReportProofResponse], error) {
	j.reports <- r.Msg
	return connect.NewResponse(&v1.ReportProofResponse{}), nil
}

// judge serves on a unix socket, whose path it returns.
func (f *fabric) judge(nodes ...string) (*judge, string) {
	f.t.Helper()
	j := &judge{tasks: map[string]chan *v1.ProofTask{}, reports: make(chan *v1.ReportProofRequest, 64)}
	for _, n := range nodes {
		j.tasks[n] = make(chan *v1.ProofTask, 16)
	}
	path := filepath.Join(f.Set.Dir(), "judge.sock")
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewReportServiceHandler(j))
	server := admin.Socket(path, mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	select {
	case <-server.Ready():
	case <-f.ctx.Done():
		f.t.Fatal("the judge does not serve")
	}
	return j, path
}

// observer writes an observer's configuration and runs it at the far router.
func (f *fabric) observer(name, socket, lines, tables string) (config string) {
	f.t.Helper()
	dir, err := f.Dir("far")
	f.must(err)
	config = filepath.Join(dir, name+".toml")
	text := fmt.Sprintf("%s\n%s\n[report]\nname = %q\ntarget = %q\n", lines, tables, name, socket)
	f.must(os.WriteFile(config, []byte(text), 0o600))
	log, err := os.Create(filepath.Join(dir, name+".log"))
	f.must(err)
	defer log.Close()
	cmd := exec.Command(*program, "-config", config, "observe")
	cmd.Stdout, cmd.Stderr = log, log
	_, err = f.Far.Start(cmd)
	f.must(err)
	f.t.Cleanup(func() {
		if f.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			f.t.Logf("%s:\n%s", name, b)
		}
	})
	return config
}

// says is what an observer answers people.
func (f *fabric) says(config string, a netip.Addr) string {
	f.t.Helper()
	var out strings.Builder
	cmd := exec.Command(*program, "-config", config, "observe", a.String())
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := f.Far.Run(cmd); err != nil {
		f.t.Fatalf("observe %s: %v\n%s", a, err, out.String())
	}
	_, word, _ := strings.Cut(strings.TrimSpace(out.String()), ": ")
	return word
}

// reported waits until the observers have reported a task.
func (f *fabric) reported(j *judge, want ...string) {
	f.t.Helper()
	open := map[string]bool{}
	for _, w := range want {
		open[w] = true
	}
	for len(open) > 0 {
		select {
		case r := <-j.reports:
			token, _ := probe.TokenOf(r.Token)
			if !r.Seen {
				f.t.Fatalf("%s reports %q", r.Node, r.Detail)
			}
			delete(open, fmt.Sprintf("%s %d", r.Node, token[0]))
		case <-f.ctx.Done():
			f.t.Fatalf("not reported: %v", open)
		}
	}
}

// silent checks that no observer has reported yet: each is asked for something
// else, which is true already, and answers that first.
func (f *fabric) silent(j *judge, nodes ...string) {
	f.t.Helper()
	never := f.vm(999)
	for i, n := range nodes {
		j.ask(n, "absent", never, byte(200+i))
	}
	for range nodes {
		select {
		case r := <-j.reports:
			if r.Token[0] < 200 {
				f.t.Errorf("%s reports task %d, which is not true yet: %v", r.Node, r.Token[0], r)
			}
		case <-f.ctx.Done():
			f.t.Fatal("an observer does not answer")
		}
	}
}

func (j *judge) ask(node, action string, a netip.Addr, token byte) {
	t := probe.Token{token}
	j.tasks[node] <- &v1.ProofTask{Token: t[:], Action: action, Destination: a.String(), LastsNs: int64(time.Minute)}
}

// TestObserver: a router that FRR alone runs at says which host routes it has, by
// its FRR and by its kernel; and, where its kernel takes none of them, what its
// IGP has.
func TestObserver(t *testing.T) {
	t.Parallel()
	each(t, []igp.Protocol{igp.OSPF3, igp.BGP}, func(f *fabric) {
		nodes := []string{"zebra", "kernel", "rib"}
		j, socket := f.judge(nodes...)
		ask := func(action string, a netip.Addr, token byte) {
			for _, n := range nodes {
				j.ask(n, action, a, token)
			}
		}
		folder := fmt.Sprintf("[frr]\nsocket_dir = %q\n", f.far.Socket())
		config := map[string]string{
			"zebra":  f.observer("zebra", socket, `source = "frr"`, folder),
			"kernel": f.observer("kernel", socket, `source = "kernel"`, ""),
			"rib":    f.observer("rib", socket, `source = "frr"`, folder+fmt.Sprintf("protocols = [%q]\n", f.protocol)),
		}
		a := f.vm(0)
		ask("installed", a, 1)
		f.silent(j, nodes...)
		f.set(2, hour, a)
		f.reported(j, "zebra 1", "kernel 1", "rib 1")
		for n, c := range config {
			if got := f.says(c, a); got != "installed" {
				t.Errorf("%s says %q of %s", n, got, a)
			}
		}
		ask("absent", a, 2)
		f.silent(j, nodes...)
		f.set(3, 0, a)
		f.reported(j, "zebra 2", "kernel 2", "rib 2")

		word := map[bool]string{true: "ipv6", false: "ip"}[a.Is6()]
		f.must(f.far.Apply(fmt.Sprintf("route-map NONE deny 10\nexit\n%s protocol %s route-map NONE\n", word, f.protocol)))
		ask("installed", a, 3)
		f.set(4, hour, a)
		f.reported(j, "rib 3") // the IGP has brought it, the kernel does not take it
		f.silent(j, "zebra", "kernel")
		for n, want := range map[string]string{"zebra": "absent", "kernel": "absent", "rib": "installed"} {
			if got := f.says(config[n], a); got != want {
				t.Errorf("%s says %q of %s, want %s", n, got, a, want)
			}
		}
	})
}

// TestObserverOutlivesFRR: questions wait while zebra is restarted; an FRR that
// stays away is told.
func TestObserverOutlivesFRR(t *testing.T) {
	t.Parallel()
	f := open(t, igp.OSPF3)
	j, socket := f.judge("zebra")
	f.observer("zebra", socket, `source = "frr"`, fmt.Sprintf("[frr]\nsocket_dir = %q\n", f.far.Socket()))
	a := f.vm(0)
	j.ask("zebra", "installed", a, 1)
	f.silent(j, "zebra")
	f.must(f.far.Kill(daemons[f.protocol]))
	f.must(f.far.Kill(frr.Zebra))
	f.must(f.far.Run(frr.Zebra))
	f.must(f.far.Restart(daemons[f.protocol]))
	f.set(2, hour, a)
	f.reported(j, "zebra 1")
	f.must(f.far.Kill(frr.Zebra))
	j.ask("zebra", "installed", f.vm(1), 2)
	select {
	case r := <-j.reports:
		if r.Seen || !strings.Contains(r.Detail, "FRR does not answer") {
			t.Errorf("of an FRR that is away the observer reports %v", r)
		}
	case <-f.ctx.Done():
		t.Fatal("nothing is said of an FRR that is away")
	}
}
