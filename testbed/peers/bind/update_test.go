package bind_test

import (
	"testing"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/google/go-cmp/cmp"
)

// holds are the answers that a job's proofs found at a server, without the epoch
// records: "name type" to TTL and data.
func holds(j dnsupdate.Job, server string) map[string][]string {
	found := map[string][]string{}
	for _, z := range j.Zones {
		for _, p := range z.Proofs {
			if p.Server.String() != server {
				continue
			}
			for _, a := range p.Answers {
				if a.Type != "TXT" {
					found[a.Name+" "+a.Type] = a.Data
				}
			}
		}
	}
	return found
}

func TestRenumber(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	s := www()
	h.publish(t, s)
	s = s.LowerTTL(5e9)
	h.publish(t, s)
	s = s.Moved(2, addrList("10.0.0.2", "2001:db8::2")...)
	j := h.publish(t, s)
	want := map[string][]string{
		"www.dc1.example. A":          {"10.0.0.2"},
		"www.dc1.example. AAAA":       {"2001:db8::2"},
		"_http._tcp.dc1.example. SRV": {"0 0 80 www.dc1.example."},
		"1.0.0.10.in-addr.arpa. PTR":  nil,
		"2.0.0.10.in-addr.arpa. PTR":  {"www.dc1.example."},
		ip6("1") + " PTR":             nil,
		ip6("2") + " PTR":             {"www.dc1.example."},
	}
	for _, server := range []string{"127.0.0.1:53", "127.0.0.2:53"} {
		if d := cmp.Diff(want, holds(j, server)); d != "" {
			t.Errorf("%s (-want +got):\n%s", server, d)
		}
	}
	if !j.Zones[0].Written {
		t.Error("the job does not say that it wrote")
	}
	if got := ttl(j, "www.dc1.example.", "A"); got != 5 {
		t.Errorf("TTL %d after the move, want the lowered one", got)
	}
	j = h.publish(t, s.RestoreTTL())
	if got := ttl(j, "www.dc1.example.", "A"); got != 300 {
		t.Errorf("TTL %d after the drain, want 300", got)
	}
}

func ip6(last string) string {
	const zeros = ".0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
	return last + zeros + "8.b.d.0.1.0.0.2.ip6.arpa."
}

func ttl(j dnsupdate.Job, name, typ string) uint32 {
	for _, z := range j.Zones {
		for _, p := range z.Proofs {
			for _, a := range p.Answers {
				if a.Name == name && a.Type == typ {
					return a.TTL
				}
			}
		}
	}
	return 0
}
