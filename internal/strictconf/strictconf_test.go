package strictconf

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type host struct {
	Name   string   `toml:"name,required"`
	Ranges []Prefix `toml:"ranges"`
	Port   uint16   `toml:"port"`
}

type config struct {
	Retry  Duration   `toml:"retry"`
	Dir    Path       `toml:"dir"`
	Self   netip.Addr `toml:"self"`
	On     *bool      `toml:"on"`
	Key    Key        `toml:"key"`
	Nested struct {
		Depth int `toml:"depth"`
	} `toml:"nested"`
	Hosts []host          `toml:"host"`
	Named map[string]host `toml:"named"`
}

func (c *config) SetDefaults() { c.Retry = Duration(time.Second) }

func (c *config) Validate(src *Source) error {
	if len(c.Hosts) > 1 && len(c.Hosts[1].Ranges) > 1 {
		return src.Errorf("host[1].ranges[1]", "overlaps host[0]")
	}
	return nil
}

func TestParse(t *testing.T) {
	t.Parallel()
	var c config
	_, err := Parse("/etc/x/c.toml", []byte(`
dir = "state"
self = "2001:db8::1"
on = true
key = "hex:000102030405060708090a0b0c0d0e0f"
nested.depth = 3
[[host]]
name = "a"
ranges = ["2001:db8:a::/64"]
[named.x]
name = "x"
`), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Retry.D() != time.Second || c.Dir != "/etc/x/state" || !*c.On || c.Nested.Depth != 3 || len(c.Key.Bytes()) != 16 {
		t.Errorf("got %+v", c)
	}
	want := []host{{Name: "a", Ranges: []Prefix{{netip.MustParsePrefix("2001:db8:a::/64")}}}}
	if d := cmp.Diff(want, c.Hosts, cmp.Comparer(func(a, b Prefix) bool { return a == b })); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	if c.Named["x"].Name != "x" {
		t.Errorf("named = %v", c.Named)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ doc, want string }{
		"unknown key":     {"# c\n\nretri = \"1s\"\n", "c.toml:3: retri: unknown key"},
		"syntax":          {"retry = \n", "c.toml:1: retry: "},
		"wrong type":      {"\nself = 5\n", "c.toml:2: self: is an integer, want a string"},
		"bad value":       {"retry = \"soon\"\n", "c.toml:1: retry: \"soon\" is not a duration"},
		"negative":        {"retry = \"-1s\"\n", "is not a duration"},
		"host bits":       {"[[host]]\nname = \"a\"\nranges = [\n \"10.0.0.0/8\", # x ]\n \"10.0.0.1/8\" ]\n", "c.toml:5: host[0].ranges[1]: 10.0.0.1/8 has bits after its length"},
		"second table":    {"[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\nbad = 1\n", "c.toml:5: host[1].bad: unknown key"},
		"missing":         {"[[host]]\nname = \"a\"\n[[host]]\n", "c.toml:3: host[1].name: missing"},
		"range of port":   {"[[host]]\nname = \"a\"\nport = 70000", "c.toml:3: host[0].port: 70000 is out of range"},
		"negative port":   {"[[host]]\nname = \"a\"\nport = -1", "out of range"},
		"table wanted":    {"nested = 3", "c.toml:1: nested: is an integer, want a table"},
		"list wanted":     {"host = \"a\"", "c.toml:1: host: is a string, want a list"},
		"in a table":      {"[named.\"a.b\"]\nname = \"x\"\nq = 1\n", "c.toml:3: named.a.b.q: unknown key"},
		"inline":          {"named = { k = { name = \"x\", q = 1 } }", "c.toml:1: named.k.q: unknown key"},
		"after text":      {"dir = \"\"\"\na\n\"\"\"\nfoo = 1\n", "c.toml:4: foo: unknown key"},
		"short key":       {"key = \"hex:00\"", "too short"},
		"no key":          {"key = \"secret\"", "want a key as"},
		"validate":        {"[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\nranges = [\"10.0.0.0/8\",\n\"11.0.0.0/8\"]", "c.toml:6: host[1].ranges[1]: overlaps host[0]"},
		"case of key":     {"Retry = \"1s\"", "c.toml:1: Retry: unknown key"},
		"duplicate key":   {"retry = \"1s\"\nretry = \"2s\"\n", "c.toml:2: retry: "},
		"bool for text":   {"retry = true", "is a boolean, want a string"},
		"missing keyfile": {"key = \"file:nope\"", "key file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c config
			_, err := Parse("c.toml", []byte(tc.doc), &c)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("err = %v, want it to contain %q", err, tc.want)
			}
			var ce *Error
			if !errors.As(err, &ce) || ce.Line == 0 {
				t.Errorf("err = %#v, want a line", err)
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "k")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("ab", 16)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(conf, []byte("key = \"file:k\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load[config](conf)
	if err != nil || len(c.Key.Bytes()) != 16 {
		t.Fatalf("key = %d bytes, err = %v", len(c.Key.Bytes()), err)
	}
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load[config](conf); err == nil || !strings.Contains(err.Error(), "want 0600") {
		t.Errorf("a key file that others may read: err = %v", err)
	}
}
