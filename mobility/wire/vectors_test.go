package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is one byte-exact message of testdata/vectors.json.
type vector struct {
	Name   string
	Src    netip.Addr
	Dst    netip.Addr
	MH     hexBytes
	Key    hexBytes
	CareOf netip.Addr `json:"care_of"`
	Note   string
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 14 {
		t.Fatalf("only %d vectors", len(vs))
	}
	return vs
}

func vectorNamed(t testing.TB, name string) vector {
	t.Helper()
	for _, v := range vectors(t) {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no vector %s", name)
	return vector{}
}

func diff(want, got []byte) string { return cmp.Diff(hex.Dump(want), hex.Dump(got)) }

// mustAppend encodes m and fails the test otherwise.
func mustAppend(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t testing.TB, b []byte) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func testKey(t testing.TB, spi uint32, secret []byte) *Key {
	t.Helper()
	k, err := NewKey(spi, HMACSHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVectorsDecodeAndEncode(t *testing.T) {
	var m Message // one for all: reuse must leave nothing behind
	for _, v := range vectors(t) {
		if err := m.Parse(v.MH); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if d := diff(v.MH, mustAppend(t, &m)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
		if err := VerifyChecksum(v.MH, v.Src, v.Dst); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if err := VerifyChecksum(v.MH, v.Src, netip.MustParseAddr("2001:db8::bad")); DropReason(err) != "checksum" {
			t.Errorf("%s: checksum holds for another destination: %v", v.Name, err)
		}
	}
}

func TestVectorsAuthenticate(t *testing.T) {
	signed := 0
	for _, v := range vectors(t) {
		if v.Key == nil {
			continue
		}
		signed++
		t.Run(v.Name, func(t *testing.T) {
			m := mustParse(t, v.MH)
			a, ok := m.Authentication()
			if !ok {
				t.Fatal("no authentication option")
			}
			if got := m.CareOf(v.Src, v.Dst); got != v.CareOf {
				t.Errorf("care-of address %s, want %s", got, v.CareOf)
			}
			k := testKey(t, a.SPI, v.Key)
			if err := k.Verify(m, v.CareOf); err != nil {
				t.Error(err)
			}
			if err := k.Verify(m, netip.MustParseAddr("2001:db8::bad")); DropReason(err) != "auth_mismatch" {
				t.Errorf("verifies for another care-of address: %v", err)
			}
			b := new(Message)
			rebuild(b, m)
			out, err := b.AppendSigned(nil, k, v.CareOf)
			if err != nil {
				t.Fatal(err)
			}
			SetChecksum(out, v.Src, v.Dst)
			if d := diff(v.MH, out); d != "" {
				t.Errorf("signed again (-want +got)\n%s", d)
			}
		})
	}
	if signed != 3 {
		t.Errorf("%d signed vectors, want 3", signed)
	}
}

// TestVectorsBuildFromWhatTheySay builds every vector again from the typed
// values that the accessors give.
func TestVectorsBuildFromWhatTheySay(t *testing.T) {
	for _, v := range vectors(t) {
		m, b := mustParse(t, v.MH), new(Message)
		rebuild(b, m)
		if a, ok := m.Authentication(); ok {
			b.AddAuthentication(a)
		}
		out := mustAppend(t, b)
		SetChecksum(out, v.Src, v.Dst)
		if d := diff(v.MH, out); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
	}
}

func TestVectorsBuildFromTypedFields(t *testing.T) {
	spis := map[string]uint32{"18_prepare_to_destination": 0x1001, "19_prepare_reply": 0x1002, "20_commit": 0x1002}
	var m Message
	for _, v := range vectors(t) {
		build, ok := builders[v.Name]
		if !ok {
			t.Errorf("%s: no builder", v.Name)
			continue
		}
		build(&m)
		var out []byte
		var err error
		if v.Key == nil {
			out, err = m.Append(nil)
		} else {
			out, err = m.AppendSigned(nil, testKey(t, spis[v.Name], v.Key), v.CareOf)
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		SetChecksum(out, v.Src, v.Dst)
		if d := diff(v.MH, out); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
	}
}

func TestCommitSaysWhatItShould(t *testing.T) {
	m := mustParse(t, vectorNamed(t, "20_commit").MH)
	if want := request(7, 900); m.Request != want {
		t.Errorf("request %+v, want %+v", m.Request, want)
	}
	got := fmt.Sprintln(m.VMID()) + fmt.Sprintln(m.AppendAddresses(nil)) + fmt.Sprintln(m.HandoffIndicator()) +
		fmt.Sprintln(m.AccessTechnology()) + fmt.Sprintln(m.LinkLayerID()) + fmt.Sprintln(m.Timestamp()) +
		fmt.Sprintln(m.Ticket()) + fmt.Sprintln(m.Epoch()) + fmt.Sprintln(m.Move()) +
		fmt.Sprintln(m.AppendDeliveries(nil)) + fmt.Sprintln(m.Nonce())
	want := `vm1@dc1.example true
[{2001:db8:a:100::42 128}]
move true
virtual true
52:54:00:12:34:56 true
2026-01-01T00:00:01Z true
00112233445566778899aabbccddeeff true
2 true
{hot keep translated redirect commit} true
[{2001:db8:a:100::42 2001:db8:b:d::7a31:8702}]
[0 1 2 3 4 5 6 7] true
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for name, present := range map[string]bool{
		"alternate care-of": ok2(m.AlternateCareOf()), "replay protection": ok2(m.ReplayProtection()),
		"default router": ok2(m.DefaultRouter()), "slot count": ok2(m.SlotCount()),
		"refresh advice": ok2(m.RefreshAdvice()), "link-local": ok2(m.LinkLocal()), "restart counter": ok2(m.RestartCounter()),
	} {
		if present {
			t.Errorf("%s found, but it is not there", name)
		}
	}
}

func ok2[T any](_ T, ok bool) bool { return ok }
