package nic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Commands of linux/ethtool.h that its netlink family lacks, or has in new kernels only.
const (
	commandHash       = 0x29 // ETHTOOL_GRXFH
	commandHashSet    = 0x2a // ETHTOOL_SRXFH
	commandRXRings    = 0x2d // ETHTOOL_GRXRINGS
	commandRuleCount  = 0x2e // ETHTOOL_GRXCLSRLCNT
	commandRule       = 0x2f // ETHTOOL_GRXCLSRULE
	commandRules      = 0x30 // ETHTOOL_GRXCLSRLALL
	commandRuleDelete = 0x31 // ETHTOOL_SRXCLSRLDEL
	commandRuleInsert = 0x32 // ETHTOOL_SRXCLSRLINS
	commandChannels   = 0x3c // ETHTOOL_GCHANNELS
	commandSpread     = 0x46 // ETHTOOL_GRSSH
	commandSpreadSet  = 0x47 // ETHTOOL_SRSSH
)

// struct ethtool_channels of linux/ethtool.h: nine numbers of 32 bits.
const (
	channelsBytes         = 36
	channelsCountRX       = 20
	channelsCountCombined = 32
)

// struct ethtool_rxnfc of linux/ethtool.h on 64 bits: the offsets of cmd, flow_type, data, fs, rule_cnt and
// rule_locs, and its size, without locations.
const (
	classifyFlow      = 4
	classifyNumber    = 8
	classifySpec      = 16
	classifyCount     = 184
	classifyLocations = 188
	classifyBytes     = 192
)

// kernel hands requests to the driver of one interface; a test plays it.
type kernel func(request []byte) error

// at asks the driver of an interface in the network namespace of the calling thread. Its error is
// ErrNotOffered where the driver does not know the command.
func at(iface string) kernel {
	return func(request []byte) error {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket to ask drivers: %w", err)
		}
		defer unix.Close(socket)
		err = Command(socket, iface, request)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return ErrNotOffered
		}
		return err
	}
}

// requestOf is so many bytes that begin with a command.
func requestOf(command uint32, bytes int) []byte {
	request := make([]byte, bytes)
	put32(request, 0, command)
	return request
}

func put32(request []byte, offset int, n uint32) { binary.NativeEndian.PutUint32(request[offset:], n) }

func get32(answer []byte, offset int) uint32 { return binary.NativeEndian.Uint32(answer[offset:]) }

// ReceiveQueues is how many receive queues an interface has now, by its driver's word. The socket is as for
// Command.
func ReceiveQueues(socket int, iface string) (int, error) {
	channels := requestOf(commandChannels, channelsBytes)
	err := Command(socket, iface, channels)
	count := int(get32(channels, channelsCountRX) + get32(channels, channelsCountCombined))
	if err == nil && count > 0 {
		return count, nil
	}
	queues, err := receiveRings(func(request []byte) error { return Command(socket, iface, request) })
	if err != nil {
		return 0, fmt.Errorf("ask the driver of %q for its queues: %w", iface, err)
	}
	return queues, nil
}

// receiveRings is how many queues a driver spreads packets over.
func receiveRings(k kernel) (int, error) {
	rings := requestOf(commandRXRings, classifyBytes)
	if err := k(rings); err != nil {
		return 0, err
	}
	return int(binary.NativeEndian.Uint64(rings[classifyNumber:])), nil
}
