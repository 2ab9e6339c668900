package flower

import "testing"

func BenchmarkAppend(b *testing.B) {
	f := filters()["established6"]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = f.AppendReplace(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	data := golden(b, "established6")[header:]
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseStatus(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHolds(b *testing.B) {
	f, s := filters()["established6"], parsed(b, golden(b, "established6"))
	b.ReportAllocs()
	for b.Loop() {
		if !s.Holds(f) {
			b.Fatal("not the same")
		}
	}
}
