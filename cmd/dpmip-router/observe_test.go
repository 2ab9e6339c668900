package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckObserver: the example is good as it stands, and every error names its
// file and key.
func TestCheckObserver(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("example/observer.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ from, to, want string }{
		"good":               {"", "", ""},
		"kernel":             {`source  = "frr"`, `source = "kernel"`, ""},
		"unknown source":     {`source  = "frr"`, `source = "bird"`, `: source: "bird": want kernel or frr`},
		"no source":          {`source  = "frr"`, "", "source"},
		"unknown key":        {"socket_dir", "socket", ": frr.socket: unknown key"},
		"unknown protocol":   {`#protocols = ["ospf6", "ospf"]`, `protocols = ["rip"]`, `: frr.protocols: "rip": want ospf6, ospf, isis or bgp`},
		"asked of nobody":    {`target = "/run/dpmip/mgmt.sock"`, "", ": report: target is missing"},
		"nobody":             {`name   = "leaf-7"`, "", ": report: name is missing"},
		"kernel's protocols": {`source  = "frr"`, "source = \"kernel\"\nfrr = { protocols = [\"ospf6\"] }", "frr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "observer.toml")
			if tc.from != "" && !strings.Contains(string(data), tc.from) {
				t.Fatalf("the example has no %q", tc.from)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), tc.from, tc.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err := run(t.Context(), []string{"--check-config", "--config", path, "observe"}, &out, &errs)
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out.String(), "good: leaf-7 observes ")):
				t.Errorf("said %q, %v", out.String(), err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("err = %v, want one that names the file and says %q", err, tc.want)
			}
		})
	}
}

// TestObserveNoFRR: an FRR that is not there is told.
func TestObserveNoFRR(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "observer.toml")
	text := "source = \"frr\"\n[frr]\nsocket_dir = \"" + t.TempDir() + "\"\n[report]\nname = \"x\"\ntarget = \"/nowhere.sock\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--config", path, "observe", "2001:db8::1"}, &out, &out); err == nil || !strings.Contains(err.Error(), "FRR does not answer") {
		t.Errorf("err = %v", err)
	}
	if err := run(t.Context(), []string{"--config", path, "observe", "leaf"}, &out, &out); err == nil || !strings.Contains(err.Error(), "want an address") {
		t.Errorf("err = %v", err)
	}
}
