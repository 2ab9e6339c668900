package capture

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/mobility/wire"
)

// LayerTypeMobility is the gopacket layer of the Mobility Header (RFC 6275
// section 6.1.1). RegisterMobility makes gopacket decode it.
var LayerTypeMobility = gopacket.RegisterLayerType(4135, gopacket.LayerTypeMetadata{
	Name: "Mobility", Decoder: gopacket.DecodeFunc(decodeMobility),
})

// Mobility is a Mobility Header as gopacket shows it. Contents holds the whole
// message; Message parses it.
type Mobility struct {
	layers.BaseLayer
	PayloadProtocol uint8 // 59
	HeaderLength    uint8 // in units of 8 bytes, without the first 8
	Type            uint8
	Checksum        uint16
}

// Message is the parsed message, a view of Contents.
func (m *Mobility) Message() (*wire.Message, error) {
	msg := &wire.Message{}
	if err := msg.Parse(m.Contents); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return msg, nil
}

// LayerType implements gopacket.Layer.
func (m *Mobility) LayerType() gopacket.LayerType { return LayerTypeMobility }

// RegisterMobility tells gopacket's IPv6 layer that next header 135 is a
// Mobility Header. gopacket's tables are global: it is done once per process.
var RegisterMobility = sync.OnceFunc(func() {
	layers.IPProtocolMetadata[ProtocolMobility] = layers.EnumMetadata{
		DecodeWith: gopacket.DecodeFunc(decodeMobility), Name: "Mobility", LayerType: LayerTypeMobility,
	}
})

// DecodeMobility takes the fixed part of a message apart.
func DecodeMobility(data []byte) (*Mobility, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("capture: Mobility Header: %d bytes, want at least 8", len(data))
	}
	length := (int(data[1]) + 1) * 8
	if length > len(data) {
		return nil, fmt.Errorf("capture: Mobility Header: length %d, %d bytes there", length, len(data))
	}
	return &Mobility{
		BaseLayer:       layers.BaseLayer{Contents: data[:length], Payload: data[length:]},
		PayloadProtocol: data[0], HeaderLength: data[1], Type: data[2],
		Checksum: binary.BigEndian.Uint16(data[4:]),
	}, nil
}

func decodeMobility(data []byte, p gopacket.PacketBuilder) error {
	m, err := DecodeMobility(data)
	if err != nil {
		p.SetTruncated()
		return err
	}
	p.AddLayer(m)
	return nil
}

// Mobility returns the message of a signalling frame, raw or in UDP; nil for
// any other frame and for one cut short.
func (f Frame) Mobility() *Mobility {
	data := f.Payload
	switch {
	case f.Protocol == ProtocolMobility:
	case Signalling(f) && len(data) > 8:
		data = data[8:]
	default:
		return nil
	}
	m, err := DecodeMobility(data)
	if err != nil {
		return nil
	}
	return m
}
