package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/google/go-cmp/cmp"
)

// doctorFile is the example's configuration for this test's namespace.
func doctorFile(t *testing.T, change *strings.Replacer) string {
	t.Helper()
	data, err := os.ReadFile("example/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := change.Replace(strings.NewReplacer("/run/dpmip/agent.sock", dir+"/agent.sock").Replace(string(data)))
	path := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDoctor: the machine is judged without a running agent, in both forms, and
// what has failed is in the exit status.
func TestDoctor(t *testing.T) {
	network(t)
	for name, tc := range map[string]struct {
		change *strings.Replacer
		failed []string // checks that must have, and others may not
	}{
		"as it is":                 {strings.NewReplacer(), nil},
		"a port that is not there": {strings.NewReplacer(`"eth0"`, `"eth7"`), []string{"fabric port"}},
		"a backend that cannot be": {strings.NewReplacer(`backend = "auto"`, `backend = "switchdev"`), []string{"backend"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := doctorFile(t, tc.change)
			var out, errs bytes.Buffer
			err := run(context.Background(), []string{"--config", path, "doctor", "--json"}, &out, &errs)
			var r dpmipv1.DoctorResponse
			if e := protojson.Unmarshal(out.Bytes(), &r); e != nil {
				t.Fatalf("%v in %s%s (%v)", e, &out, &errs, err)
			}
			states, failed := map[string]string{}, []string(nil)
			for _, c := range r.Checks {
				states[c.Name] = c.State
				if c.State == "failed" && (c.Name == "backend" || c.Name == "fabric port") {
					failed = append(failed, c.Name)
				}
			}
			if diff := cmp.Diff(tc.failed, failed); diff != "" {
				t.Errorf("failed (-want +got):\n%s", diff)
			}
			any := slices.ContainsFunc(r.Checks, func(c *dpmipv1.Check) bool { return c.State == "failed" })
			if any != errors.Is(err, errUnhealthy) {
				t.Errorf("err = %v, something failed: %v", err, any)
			}
			if states["agent"] != "unknown" || states["net.ipv4.ip_forward"] == "" || states["CAP_NET_ADMIN"] != "ok" {
				t.Errorf("checks: %v", states)
			}
			out.Reset()
			_ = run(context.Background(), []string{"doctor", "--config", path}, &out, &errs)
			for _, want := range append([]string{"CHECK ", " ADVICE", "backend ", "does not run"}, tc.failed...) {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in the table:\n%s", want, &out)
				}
			}
		})
	}
}

// TestDoctorSeesAgent: where one runs, doctor says so and leaves it alone.
func TestDoctorSeesAgent(t *testing.T) {
	network(t)
	cfg := example(t)
	newManagement(t, cfg)
	_, stop := serve(t, cfg)
	defer stop()
	c := answering(t.Context(), cfg.Socket.String())
	if c.State != "ok" {
		t.Errorf("%+v", c)
	}
	var out, errs bytes.Buffer
	if err := run(context.Background(), []string{"doctor", "extra"}, &out, &errs); err == nil || !strings.Contains(err.Error(), "extra") {
		t.Errorf("with an argument: %v", err)
	}
	if err := run(context.Background(), []string{"diagnose"}, &out, &errs); err == nil || !strings.Contains(err.Error(), "doctor") {
		t.Errorf("another command: %v", err)
	}
	if err := run(context.Background(), []string{"doctor", "--config", filepath.Join(t.TempDir(), "none.toml")}, &out, &errs); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("without a configuration: %v", err)
	}
}
