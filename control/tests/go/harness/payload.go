package harness

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Mebibyte is the unit of larger payloads.
const Mebibyte = 1 << 20

// payload yields the bytes that a seed stands for, whatever the sizes of the
// reads: byte i of seed s is the same everywhere, so that both ends can check
// contents by position and a byte of another connection is wrong at once.
type payload struct {
	stream *rand.ChaCha8
	left   int64
}

// NewPayload returns the first size bytes of the payload named seed, then EOF.
func NewPayload(seed uint64, size int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &payload{stream: rand.NewChaCha8(key), left: size}
}

// Read implements io.Reader.
func (p *payload) Read(into []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if int64(len(into)) > p.left {
		into = into[:p.left]
	}
	n, err := p.stream.Read(into)
	p.left -= int64(n)
	return n, err
}

// CheckPayload reads exactly size bytes and compares them with the payload
// named seed. The error names the first offset that is wrong. It does not read
// further: what follows is the caller's to check (CheckEOF).
func CheckPayload(from io.Reader, seed uint64, size int64) error {
	expected := NewPayload(seed, size)
	got, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for offset := int64(0); offset < size; {
		n, err := from.Read(got[:min(int64(len(got)), size-offset)])
		if _, short := io.ReadFull(expected, want[:n]); short != nil {
			return fmt.Errorf("generating payload: %w", short)
		}
		if !bytes.Equal(got[:n], want[:n]) {
			first := 0
			for got[first] == want[first] {
				first++
			}
			return fmt.Errorf("payload %d: byte %d of %d is %#x, expected %#x",
				seed, offset+int64(first), size, got[first], want[first])
		}
		offset += int64(n)
		if err != nil && offset < size {
			return fmt.Errorf("payload %d: ended after %d of %d bytes: %w", seed, offset, size, err)
		}
	}
	return nil
}

// CheckEOF requires that the stream has ended cleanly.
func CheckEOF(from io.Reader) error {
	extra, err := io.ReadAll(io.LimitReader(from, 64))
	if err != nil {
		return fmt.Errorf("expected the end of the stream: %w", err)
	}
	if len(extra) > 0 {
		return fmt.Errorf("expected the end of the stream, got %d more bytes: %q", len(extra), extra)
	}
	return nil
}
