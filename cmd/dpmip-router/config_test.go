package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckConfig: the example is good as it stands, and every error names its
// file and line, or the key that is missing.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("example/router.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ from, to, want string }{
		"good":               {"", "", ""},
		"unknown key":        {"max_routes", "max_rutes", ": max_rutes: unknown key"},
		"unknown table":      {"[timers]", "[timer]", "timer"},
		"wrong type":         {"max_routes   = 65536", `max_routes = "many"`, ": max_routes"},
		"no locators":        {`["2001:db8:0:a::1", "10.0.10.1"]`, "[]", ": locators: is empty"},
		"no address":         {`"10.0.10.1"`, `"here"`, "locators[1]"},
		"no state directory": {"state_dir    = \"/var/lib/dpmip\"", "", "state_dir"},
		"key that is no hex": {"hex:0001", "hex:zz01", "management[0].keys[0].key"},
		"reserved SPI":       {"4101", "17", ": management"},
		"one SPI twice":      {"4102", "4101", ": management"},
		"no keys":            {"[[management.keys]]", "[[management.key]]", "management"},
		"no heartbeat":       {`heartbeat = "1s"`, `heartbeat = "0s"`, ": timers: heartbeat"},
		"report of nobody":   {"[timers]", "[report]\ntarget = \"/run/dpmip/mgmt.sock\"\n[timers]", ": report: name is missing"},
		"report to nobody":   {"[timers]", "[report]\nname = \"tor-a\"\n[timers]", ": report: is of no use without target"},
		"report without TLS": {"[timers]", "[report]\nname = \"tor-a\"\ntarget = \"https://[::1]:5437\"\n[timers]", ": report: mgmtclient: bad target"},
		"busy reports":       {"[timers]", "[report]\nname = \"tor-a\"\ntarget = \"/run/dpmip/mgmt.sock\"\ninterval = \"1ms\"\n[timers]", ": report.interval: 1ms: want at least 1s"},
		"rule of a metric":   {"[timers]", "[[metrics_of]]\nprefixes = [\"2001:db8:a::/64\", \"10.1.0.0/16\"]\nmetric = 15\n[timers]", ""},
		"rule without one":   {"[timers]", "[[metrics_of]]\nprefixes = [\"2001:db8:a::/64\"]\nmetric = 0\n[timers]", ": metrics_of: 2001:db8:a::/64: metric is missing"},
		"import's metric":    {"[timers]", "[[metrics_of]]\nprefixes = [\"2001:db8:a::/64\"]\nmetric = 30\n[timers]", ": metrics_of: 2001:db8:a::/64: metric 30 is that of imported routes"},
		"one prefix twice":   {"[timers]", "[[metrics_of]]\nprefixes = [\"10.1.0.0/16\", \"10.1.0.0/16\"]\nmetric = 15\n[timers]", ": metrics_of: 10.1.0.0/16: is named twice"},
		"unknown algorithm":  {"send    = 4101", "send = 4101\nalgorithm = \"md5\"", "management[0].keys[0].algorithm: \"md5\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := string(data)
			if tc.from != "" && !strings.Contains(text, tc.from) {
				t.Fatalf("the example has no %q", tc.from)
			}
			path := filepath.Join(t.TempDir(), "router.toml")
			if err := os.WriteFile(path, []byte(strings.Replace(text, tc.from, tc.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err := run(t.Context(), []string{"--check-config", "--config", path}, &out, &errs)
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out.String(), "good: 1 management node")):
				t.Errorf("said %q, %v", out.String(), err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("err = %v, want one that names the file and says %q", err, tc.want)
			}
		})
	}
}

func TestVersionAndFlags(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, &out, &out); err != nil || out.Len() == 0 {
		t.Errorf("version: %v, %q", err, out.String())
	}
	if err := run(t.Context(), []string{"--what"}, &out, &out); err == nil {
		t.Error("an unknown flag is accepted")
	}
	if err := run(t.Context(), []string{"--config", filepath.Join(t.TempDir(), "none.toml")}, &out, &out); err == nil {
		t.Error("runs without a configuration")
	}
}
