package etcd

import (
	"encoding/binary"
	"fmt"

	"github.com/dpmip/dpmip/mgmt/store"
)

// A pending transaction, in parts of at most maxBytes/2 and a record: each begins
// with 1 if it is the last and 0 if more follow, then the writes: kind, key and
// value with their lengths as varints, the value's plus one, 0 = delete.

func encode(writes []store.Write) (parts [][]byte) {
	part := []byte{0}
	for _, w := range writes {
		if len(part) > maxBytes/2 {
			parts, part = append(parts, part), []byte{0}
		}
		part = appendBytes(part, []byte(w.Kind), 0)
		part = appendBytes(part, w.Key, 0)
		if w.Value == nil {
			part = append(part, 0)
			continue
		}
		part = appendBytes(part, w.Value, 1)
	}
	part[0] = 1
	return append(parts, part)
}

func appendBytes(b, x []byte, plus uint64) []byte {
	return append(binary.AppendUvarint(b, uint64(len(x))+plus), x...)
}

// decode reads parts in order; whole is false where the last is missing.
func decode(parts [][]byte) (writes []store.Write, whole bool, err error) {
	for i, p := range parts {
		if len(p) == 0 || whole {
			return nil, false, fmt.Errorf("%w: pending part %d", store.ErrDamaged, i)
		}
		whole = p[0] == 1
		for p = p[1:]; len(p) > 0; {
			var w store.Write
			if w, p, err = decodeWrite(p); err != nil {
				return nil, false, fmt.Errorf("%w: pending part %d: %w", store.ErrDamaged, i, err)
			}
			writes = append(writes, w)
		}
	}
	return writes, whole, nil
}

func decodeWrite(p []byte) (w store.Write, rest []byte, err error) {
	kind, p, err := takeBytes(p, 0)
	if err != nil {
		return w, nil, err
	}
	if w.Key, p, err = takeBytes(p, 0); err != nil {
		return w, nil, err
	}
	w.Kind = store.Kind(kind)
	if len(p) > 0 && p[0] == 0 {
		return w, p[1:], nil
	}
	w.Value, p, err = takeBytes(p, 1)
	return w, p, err
}

func takeBytes(p []byte, minus uint64) (x, rest []byte, err error) {
	n, used := binary.Uvarint(p)
	if used <= 0 || n < minus || n-minus > uint64(len(p)-used) {
		return nil, nil, fmt.Errorf("a length that does not fit, %d bytes from the end", len(p))
	}
	end := used + int(n-minus)
	return p[used:end:end], p[end:], nil
}
