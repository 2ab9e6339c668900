package topology

import (
	"bytes"
	"os/exec"
	"testing"
	"time"
)

func TestEveryNodeReachesEveryLocator(t *testing.T) {
	start := time.Now()
	l, err := Up(Options{Base: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("up in %v", time.Since(start))
	if err := l.RunResidents(); err != nil {
		t.Fatal(err)
	}
	targets := append(l.Plan.Mgmt.Both(), l.Plan.CN.Both()...)
	for _, h := range l.Plan.Hypervisors {
		targets = append(targets, h.Locator.Both()...)
	}
	for _, r := range l.Plan.Routers {
		targets = append(targets, r.Locator.Both()...)
	}
	for _, v := range l.Plan.VMs {
		targets = append(targets, v.Addr.Both()...)
	}
	for _, from := range []string{CN, Mgmt, HVC, "vm1", "vm3"} {
		for _, to := range targets {
			var out bytes.Buffer
			cmd := exec.Command("ping", "-c1", "-W2", to.String())
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := l.Node(from).NS.Run(cmd); err != nil {
				t.Errorf("%s -> %s: %v\n%s", from, to, err, out.Bytes())
			}
		}
	}
}
