package packet

import (
	"sync"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// Tally counts packets by their type. The zero value is ready.
type Tally struct {
	mutex sync.Mutex
	seen  map[client.PacketType]int
}

// Add counts a packet.
func (t *Tally) Add(packet *Packet) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.seen == nil {
		t.seen = map[client.PacketType]int{}
	}
	t.seen[packet.Type]++
}

// Of is how many packets of a type were counted.
func (t *Tally) Of(kind client.PacketType) int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.seen[kind]
}
