package software

import (
	"net/netip"
	"testing"
)

// TestManyZones has more zones than one attribute of netlink holds, and than a
// socket sends by default: an agent that starts writes all of them at once.
func TestManyZones(t *testing.T) {
	t.Parallel()
	_, l := host(t, nil)
	d := l.dev[0]
	z := zoneChange{put: map[netip.Addr]uint16{}, drop: map[netip.Addr]bool{}}
	for i := range 20_000 {
		for _, a := range []netip.Addr{
			netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0xfd, 0x77, 14: byte(i >> 8), 15: byte(i)}),
		} {
			z.put[a], z.drop[a] = uint16(i+1), true
		}
	}
	for _, write := range []struct {
		name string
		do   func() error
		want map[netip.Addr]uint16
	}{
		{"put", func() error { return d.nft.change(zoneChange{put: z.put}) }, z.put},
		{"dropped", func() error { return d.nft.change(zoneChange{drop: z.drop}) }, map[netip.Addr]uint16{}},
		{"written anew", func() error {
			if err := d.nft.addZones(z.put); err != nil {
				return err
			}
			return d.nft.conn.Flush()
		}, z.put},
	} {
		l.must(write.do())
		ok, err := d.nft.intact(write.want)
		l.must(err)
		if !ok {
			t.Errorf("%s: the kernel does not have these zones", write.name)
		}
	}
}
