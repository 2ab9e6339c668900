package bind

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Key is a TSIG key as named knows it.
type Key struct {
	Name      string // "vm1."
	Algorithm string // "hmac-sha256"
	Secret    string // base64
}

// NewKey makes a key with a random secret of 64 bytes.
func NewKey(name, algorithm string) Key {
	var b [64]byte
	rand.Read(b[:])
	return Key{name, algorithm, base64.StdEncoding.EncodeToString(b[:])}
}

// Statement is the key as named.conf has it, and as tsig-keygen prints it.
func (k Key) Statement() string {
	return fmt.Sprintf("key \"%s\" {\n\talgorithm %s;\n\tsecret \"%s\";\n};\n", k.Name, k.Algorithm, k.Secret)
}

// WriteFile writes the statement, readable by its owner only.
func (k Key) WriteFile(path string) error { return os.WriteFile(path, []byte(k.Statement()), 0o600) }

// Zone is one zone of a server.
type Zone struct {
	Name string // "dc1.example."
	// Primaries makes the server a secondary of these.
	Primaries []netip.Addr
	// Policy are the rules of update-policy, without "grant" and ";":
	// "vm1. subdomain www.dc1.example. A AAAA TXT".
	Policy []string
	// Records are those of the zone file, besides SOA and NS.
	Records []string
	// NS is the name of the SOA's primary; empty: "ns1." before the zone.
	NS string
	// Notify are the secondaries that are told of a change.
	Notify []netip.Addr
	// Transfer lets them have the zone.
	Transfer bool
}

// Config is one server.
type Config struct {
	Addr      netip.Addr // it listens here, port 53
	Keys      []Key
	Zones     []Zone
	Recursion bool // answer recursive questions, for its own zones only
}

// options are the same for both roles. With notify-delay at its default of 5 s
// a secondary hears of the second of two changes only after that time.
const options = `options {
	directory "%[1]s";
	pid-file "%[1]s/named.pid";
	session-keyfile none;
	listen-on port 53 { %[2]s };
	listen-on-v6 port 53 { %[3]s };
	recursion %[4]s;
	allow-query { any; };
	dnssec-validation no;
	empty-zones-enable no;
	notify explicit;
	notify-source %[5]s;
	transfer-source %[5]s;
	notify-delay 0;
	notify-rate 1000;
	startup-notify-rate 1000;
	serial-query-rate 1000;
	min-retry-time 1;
};
controls { };
`

// conf is the text of named.conf with its files in dir.
func (c Config) conf(dir string) string {
	v4, v6, source := c.Addr.String()+";", "none;", c.Addr.String()
	if c.Addr.Is6() {
		v4, v6, source = "none;", c.Addr.String()+";", "*"
	}
	recursion := "no"
	if c.Recursion {
		recursion = "yes"
	}
	var b strings.Builder
	fmt.Fprintf(&b, options, dir, v4, v6, recursion, source)
	for _, k := range c.Keys {
		b.WriteString(k.Statement())
	}
	for _, z := range c.Zones {
		b.WriteString(z.Statement())
	}
	return b.String()
}

// Statement is the zone as named.conf has it.
func (z Zone) Statement() string {
	if len(z.Primaries) > 0 {
		return fmt.Sprintf("zone \"%s\" {\n\ttype secondary;\n\tfile \"%s\";\n\tprimaries { %s };\n\tmasterfile-format text;\n};\n",
			z.Name, z.file(), addrs(z.Primaries))
	}
	var policy strings.Builder
	for _, p := range z.Policy {
		fmt.Fprintf(&policy, "\t\tgrant %s;\n", p)
	}
	transfer := "none;"
	if z.Transfer {
		transfer = addrs(z.Notify)
	}
	return fmt.Sprintf("zone \"%s\" {\n\ttype primary;\n\tfile \"%s\";\n\talso-notify { %s };\n\tallow-transfer { %s };\n\tupdate-policy {\n%s\t};\n};\n",
		z.Name, z.file(), addrs(z.Notify), transfer, policy.String())
}

func (z Zone) file() string { return strings.TrimSuffix(z.Name, ".") + ".zone" }

// text is the zone file of a primary.
func (z Zone) text(addr netip.Addr) string {
	ns, glue := z.NS, ""
	if ns == "" {
		ns = "ns1." + z.Name
		typ := "A"
		if addr.Is6() {
			typ = "AAAA"
		}
		glue = fmt.Sprintf("%s 300 IN %s %s\n", ns, typ, addr)
	}
	text := fmt.Sprintf("$TTL 300\n%[1]s IN SOA %[2]s hostmaster.%[1]s 1 3600 1 86400 5\n%[1]s IN NS %[2]s\n%[3]s", z.Name, ns, glue)
	for _, r := range z.Records {
		text += r + "\n"
	}
	return text
}

func addrs(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String() + ";"
	}
	return strings.Join(texts, " ")
}
