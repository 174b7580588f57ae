package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"culvert/bench/receive"
	"culvert/scripts/lab"
)

// self is a receiver that this program is itself, in a process of its own.
type self struct {
	stage  *Stage
	name   string
	child  *lab.Child
	points uint64 // in a packet
}

// OpenDrop starts the dropping AF_XDP receiver: the limit of the path. With a sink it also posts as many
// bytes there as it received. A packet counts as so many points.
func (s *Stage) OpenDrop(ctx context.Context, pointsPerPacket int, sink bool) (Receiver, error) {
	name := "dropping AF_XDP receiver"
	arguments := []string{"drop", "-interface", lab.GatewayInterface, "-cpus", s.Places.WorkerList(),
		"-listen", selfAddress}
	if sink {
		name += " beside the sink's load"
		arguments = append(arguments, "-sink", sinkAddress, "-database", Database)
	}
	return s.openSelf(ctx, name, pointsPerPacket, arguments)
}

// OpenCount starts the bare counter on kernel sockets.
func (s *Stage) OpenCount(ctx context.Context, pointsPerPacket int) (Receiver, error) {
	return s.openSelf(ctx, "bare recvmmsg counter", pointsPerPacket, []string{"count",
		"-port", strconv.Itoa(Port), "-cpus", s.Places.WorkerList(), "-listen", selfAddress})
}

// Passed puts a program that passes everything on under a receiver by sockets, so that live frames reach it
// as they reach one by AF_XDP. The receiver is closed with what this returns, also with an error.
func (s *Stage) Passed(ctx context.Context, r Receiver) (Receiver, error) {
	child, err := s.run(s.Places.All(), "pass", s.Self, "pass", "-interface", lab.GatewayInterface,
		"-listen", passAddress)
	if err != nil {
		return r, err
	}
	return &Together{Receiver: r, Belongings: []func() error{child.Stop}},
		lab.Await(ctx, "program that passes", child, func() error {
			_, err := s.fetch(ctx, passAddress, "/")
			return err
		})
}

func (s *Stage) openSelf(ctx context.Context, name string, points int, arguments []string) (Receiver, error) {
	child, err := s.run(s.Places.All(), arguments[0], s.Self, arguments...)
	if err != nil {
		return nil, err
	}
	r := &self{stage: s, name: name, child: child, points: uint64(points)}
	return r, lab.Await(ctx, name, child, func() error {
		_, err := r.Count(ctx)
		return err
	})
}

func (r *self) Name() string     { return r.name }
func (r *self) Main() *lab.Child { return r.child }
func (r *self) Close() error     { return r.child.Stop() }

func (r *self) Count(ctx context.Context) (Count, error) {
	body, err := r.stage.fetch(ctx, selfAddress, "/stats")
	if err != nil {
		return Count{}, err
	}
	var sums receive.Sums
	if err := json.Unmarshal(body, &sums); err != nil {
		return Count{}, fmt.Errorf("read the figures of the %s: %w", r.name, err)
	}
	return Count{Packets: sums.Packets, Points: sums.Packets * r.points}, nil
}
