package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/internal/transcript"
)

var only = flag.String("steps", "", "regular expression: run only the steps whose names match it")

// chosen are the steps that -steps names.
func chosen(t *testing.T, steps []Step) []Step {
	t.Helper()
	re, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-steps: %v", err)
	}
	steps = slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return !re.MatchString(s.Name) })
	if len(steps) == 0 {
		t.Fatalf("-steps %s: no step has such a name", *only)
	}
	return steps
}

// needsTestbed skips unless make testbed-arm64 runs the test: it takes minutes,
// QEMU and a kernel.
func needsTestbed(t *testing.T) {
	t.Helper()
	if os.Getenv("DPMIP_TESTBED") == "" {
		t.Skip("make testbed-arm64 boots the testbed")
	}
}

// suite is a test binary's run in the guest.
func suite(name, binary, run string, more ...string) Step {
	return Step{
		Name: name, Command: append([]string{Payload + "/tests/" + binary, "-test.v", "-test.run", run}, more...),
		Dir: Payload, Tests: true, Time: 8 * time.Minute,
	}
}

// hotMove is a run of the lab in the guest: both families, A -> B -> C -> A, at a
// rate that an emulated machine can carry.
func hotMove(name string, more ...string) Step {
	file := "/tmp/" + strings.ReplaceAll(name, " ", "-") + ".json"
	return Step{
		Name: name, Figures: file, Time: 8 * time.Minute,
		Command: append([]string{Payload + "/bin/dpmip-lab", "run", "hot-move", "--family", "dual", "--moves", "3", "--pps", "250", "--slow", "12", "--json", file}, more...),
	}
}

// measured is a group of benchmarks in the guest.
func measured(name, group string) Step {
	file := "/tmp/" + group + ".json"
	return Step{
		Name: name, Figures: file, Time: 5 * time.Minute,
		Command: []string{Payload + "/bin/dpmip-lab", "bench", "--quick", "--only", group, "--json", file},
	}
}

// testbedSteps are what must pass in the guest.
var testbedSteps = []Step{
	suite("region reopened after kill", "nicmem.test", "Kill"),
	suite("BUL reopened after kill", "bul.test", "Kill"),
	suite("what tc sends", "flower.test", "TestTCSends|TestSameBytesAsTC", "-tc"),
	suite("filters in the kernel", "tc.test", "Kernel", "-flower"),
	suite("what the card has", "detect.test", "TestProbe|TestOpen|TestResolver", "-flower"),
	{Name: "filters given back", Command: []string{Payload + "/tests/tc.test", "-test.run", "TestKernelGivesBack", "-flower", "-capture", "/tmp/given.json"}, Figures: "/tmp/given.json"},
	suite("device killed while holding", "software.test", "Killed"),
	suite("a further chain decides", "software.test", "TestFurtherChain"),
	suite("agent killed during a redirect by filters", "faults.test", "TestKilledAgents/source_during_a_redirect", "-bin", Payload+"/bin", "-slow", "8", "-backend", "switchdev"),
	hotMove("hot move translated", "--redirect", "translated"),
	hotMove("hot move translated by filters", "--redirect", "translated", "--backend", "switchdev", "--pps", "120"),
	hotMove("hot move routed by filters", "--redirect", "routed", "--backend", "switchdev", "--pps", "120"),
	suite("haltest software", "software.test", "TestConformance/tcx", "-test.parallel", "4"),
	suite("haltest switchdev", "detect.test", "TestSwitchdevConformance", "-flower", "-test.parallel", "4"),
	measured("filters a second", "filters"),
	rulesShown,
	suite("established flows are fast", "detect.test", "TestEstablishedFlowsAreFast", "-flower"),
}

// testbedMeasures only measure, for minutes: they run where -steps names them.
var testbedMeasures = []Step{
	measured("redirect by filters against software", "fastpath"),
	measured("agent with many bindings", "start"),
}

// netdevsimSteps need the simulated switch.
var netdevsimSteps = []Step{
	suite("an e-switch is read", "netdevsim.test", "TestEswitchIsRead"),
	suite("an e-switch changes its mode", "netdevsim.test", "TestEswitchModeChanges"),
	suite("full FIB", "faults.test", "TestFullFIB", "-bin", Payload+"/bin", "-slow", "8"),
	suite("refused offload", "faults.test", "TestFIBRefusesOffload", "-bin", Payload+"/bin", "-slow", "8"),
	suite("full FIB at a router", "faults.test", "TestRouterFullFIB", "-bin", Payload+"/bin", "-slow", "8"),
	suite("refused offload at a router", "faults.test", "TestRouterFIBRefusesOffload", "-bin", Payload+"/bin", "-slow", "8"),
}

// bootTestbed boots the image with a payload and gives its results, all of
// which also go into out/testbed.
func bootTestbed(t *testing.T, ctx context.Context, payload string) (*Machine, *transcript.Transcript) {
	t.Helper()
	dir := filepath.Join(out, "testbed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lines, err := os.Create(filepath.Join(dir, t.Name()+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lines.Close() })
	console, err := os.Create(filepath.Join(dir, t.Name()+".console"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { console.Close() })
	s := &transcript.Transcript{}
	m, err := Boot(ctx, Options{
		Kernel:  filepath.Join(out, "kernel/vmlinuz"),
		Initrds: []string{filepath.Join(out, "firmware/dpmip-initramfs.img"), payload},
		Memory:  2048, Append: "dpmip.config=image", Dir: t.TempDir(), Console: io.MultiWriter(s, console), Results: lines,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, s
}

// tail is the end of what the console shows.
func tail(s *transcript.Transcript) string {
	lines := strings.Split(strings.TrimSpace(s.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// stepNames are the results that must come, in order.
func stepNames(steps []Step) []string {
	names := []string{"memory for maps"}
	for _, s := range steps {
		names = append(names, s.Name)
	}
	return names
}

// TestTestbed runs what a card must be able to do on an emulated one.
func TestTestbed(t *testing.T) {
	needsTestbed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 35*time.Minute)
	defer cancel()
	steps := testbedSteps
	if *only != "" {
		steps = chosen(t, slices.Concat(testbedSteps, testbedMeasures))
	}
	b := newBench(t, steps)
	b.folder("payload/bin", arm64(t, testbedPrograms...))
	b.folder("payload/tests", crossTests(t, testbedTests...))
	b.folder("", filepath.Join(out, "tc/root"))
	carryOut(t, ctx, b, steps)
}

// TestNetdevsim runs moves on an emulated card with a simulated switch.
func TestNetdevsim(t *testing.T) {
	if os.Getenv("DPMIP_NETDEVSIM") == "" {
		t.Skip("make testbed-netdevsim builds the module and boots the testbed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	steps := chosen(t, netdevsimSteps)
	b := newBench(t, steps, "psample")
	b.folder("payload/bin", arm64(t, testbedPrograms...))
	b.folder("payload/tests", crossTests(t, "../faults", "../netdevsim"))
	carryOut(t, ctx, b, steps)
}

// carryOut boots the payload and holds its results against the steps.
func carryOut(t *testing.T, ctx context.Context, b *bench, steps []Step) {
	t.Helper()
	m, s := bootTestbed(t, ctx, b.image())
	var names []string
	for r := range m.Results() {
		names = append(names, r.Name)
		t.Run(r.Name, func(t *testing.T) {
			if r.Failed != "" {
				t.Error(r.Failed)
			}
			t.Logf("%.1f s %s", r.Seconds, summary(r.Data))
			if r.Name == rulesShown.Name && *document != "" {
				writeRules(t, *document, r.Data)
			}
		})
	}
	if _, err := m.Wait(); err != nil {
		t.Errorf("%v; the console's end:\n%s", err, tail(s))
	}
	if d := cmp.Diff(stepNames(steps), names); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
}

// summary is what of a result's data goes into the log.
func summary(data json.RawMessage) string {
	var report struct {
		Summary json.RawMessage `json:"summary"`
	}
	if json.Unmarshal(data, &report) == nil && len(report.Summary) > 0 {
		data = report.Summary
	}
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return string(data)
	}
	return b.String()
}

// TestTestbedSeesFailures spoils the payload: a program that is cut short, a lab
// without its hold, a binary without tests; and the guest panics before its
// last step.
func TestTestbedSeesFailures(t *testing.T) {
	needsTestbed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	steps := []Step{
		suite("truncated", "bul.test", "Kill"),
		suite("no test", "nicmem.test", "TestOfAnotherPackage"),
		hotMove("no hold", "--sabotage", "no-hold"),
		{Name: "panic", Command: []string{Payload + "/run", "panic"}},
		{Name: "after the panic", Command: []string{"/usr/bin/dpmipctl", "--version"}},
	}
	b := newBench(t, steps)
	b.folder("payload/bin", arm64(t, testbedPrograms...))
	tests := crossTests(t, "../../agent/bul", "../../hwabstraction/nicmem")
	bul := filepath.Join(tests, "bul.test")
	write(t, bul, read(t, bul)[:1<<20])
	b.folder("payload/tests", tests)
	m, s := bootTestbed(t, ctx, b.image())
	got, err := m.Wait()
	if !errors.Is(err, ErrNoSentinel) || !strings.Contains(tail(s), "Kernel panic") {
		t.Errorf("the panic ended with %v and on the console with\n%s", err, tail(s))
	}
	failed := map[string]bool{}
	for _, r := range got {
		failed[r.Name] = r.Failed != ""
		t.Logf("%s: %s", r.Name, r.Failed)
	}
	if d := cmp.Diff(map[string]bool{"memory for maps": false, "truncated": true, "no test": true, "no hold": true}, failed); d != "" {
		t.Errorf("failed (-want +got):\n%s\n%s", d, tail(s))
	}
}

// TestTestbedTimesOut boots with less time than a boot needs.
func TestTestbedTimesOut(t *testing.T) {
	needsTestbed(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	m, _ := bootTestbed(t, ctx, newBench(t, nil).image())
	if got, err := m.Wait(); err == nil || errors.Is(err, ErrNoSentinel) || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}
