package bind_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mobility"
)

// BenchmarkProof compares, interleaved, the time from the order to the proof at
// the secondary: a bare nsupdate process an update, one nsupdate kept running,
// and an Updater, which reads and writes the epoch record besides. The secondary
// is asked in the same way by all three.
func BenchmarkProof(b *testing.B) {
	p := start(b, nil)
	c := p.client()
	defer c.Close()
	h := p.host(b, c, zones(b, p.mgmt), fast)
	keyFile := filepath.Join(p.dir, "bench.key")
	if err := p.mgmt.WriteFile(keyFile); err != nil {
		b.Fatal(err)
	}
	kept := nsupdate(b, p, keyFile)
	took := map[string][]time.Duration{}
	run := func(name string, f func()) {
		began := time.Now()
		f()
		took[name] = append(took[name], time.Since(began))
	}
	state := nameOnly()
	n := 0
	for b.Loop() {
		n++
		a := fmt.Sprintf("10.0.%d.%d", n/250+1, n%250+1)
		run("process", func() {
			once := nsupdate(b, p, keyFile)
			order(b, once, "p", a)
			if err := once.Close(); err != nil {
				b.Fatal(err)
			}
			seen(b, c, "p", a)
		})
		run("kept", func() {
			order(b, kept, "k", a)
			seen(b, c, "k", a)
		})
		state = state.Moved(state.Version.Epoch+1, netip.MustParseAddr(a))
		state.Withdrawn = nil
		run("ours", func() { h.publish(b, state) })
	}
	for name, list := range took {
		b.ReportMetric(median(list).Seconds()*1000, name+"-ms")
	}
	b.ReportMetric(float64(median(took["ours"]))/float64(median(took["process"])), "ours/process")
	b.ReportMetric(float64(median(took["ours"]))/float64(median(took["kept"])), "ours/kept")
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

// nsupdate starts the program, over TCP and with the key; it ends with its input.
func nsupdate(b *testing.B, p *pair, keyFile string) io.WriteCloser {
	cmd := exec.Command("nsupdate", "-v", "-k", keyFile)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := p.ns.Start(cmd); err != nil {
		b.Fatal(err)
	}
	return in
}

func order(b *testing.B, w io.Writer, name, addr string) {
	b.Helper()
	_, err := fmt.Fprintf(w, "server 127.0.0.1\nzone %[1]s\nupdate delete %[2]s.%[1]s A\nupdate add %[2]s.%[1]s 300 A %[3]s\nsend\n", forward, name, addr)
	if err != nil {
		b.Fatal(err)
	}
}

// seen waits until the secondary has the address.
func seen(b *testing.B, c *dnsupdate.Client, name, addr string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), deadline)
	defer cancel()
	want := []dnsupdate.Want{{Name: name + "." + forward, Type: "A", Exact: true, Present: []string{addr}}}
	if f := dnsupdate.Missing(c.Prove(ctx, forward, primaryPort, []netip.AddrPort{secondaryPort}, want)); f != nil {
		b.Fatal(f)
	}
}

// BenchmarkEvacuate moves all VMs of a hypervisor at once: a name and a PTR
// record each, until every one is proved at both servers.
func BenchmarkEvacuate(b *testing.B) {
	const vms = 1000
	p := start(b, nil)
	h := p.host(b, p.client(), zones(b, p.mgmt), dnsupdate.Timing{})
	states := make([]dnsupdate.State, vms)
	for i := range states {
		name := fmt.Sprintf("vm%04d.%s", i, forward)
		states[i] = dnsupdate.State{
			VM:       mobility.NAI(strings.TrimSuffix("v@"+name, ".")),
			Services: dnsupdate.Services{Names: []dnsupdate.Name{{Name: name}}, Reverse: name},
		}
	}
	for b.Loop() {
		left := map[mobility.VMID]dnsupdate.Version{}
		for i, s := range states {
			addr := netip.MustParseAddr(fmt.Sprintf("2001:db8::%x:%x", s.Version.Epoch+1, i+1))
			states[i] = s.Moved(s.Version.Epoch+1, addr)
			h.submit(b, states[i])
			left[s.VM] = states[i].Version
			drain(b, h, left)
		}
		h.until(b, "all are proved", func(j dnsupdate.Job) bool { return ended(b, j, left) && len(left) == 0 })
	}
	b.ReportMetric(float64(vms*b.N)/b.Elapsed().Seconds(), "VMs/s")
}

// drain takes the reports that are there.
func drain(b *testing.B, h *host, left map[mobility.VMID]dnsupdate.Version) {
	for {
		select {
		case j := <-h.reports:
			ended(b, j, left)
		default:
			return
		}
	}
}

func ended(b *testing.B, j dnsupdate.Job, left map[mobility.VMID]dnsupdate.Version) bool {
	if !j.Final() || left[j.VM] != j.Version {
		return false
	}
	if err := j.Err(); err != nil {
		b.Fatal(err)
	}
	delete(left, j.VM)
	return true
}
