// What a sent packet costs in Go: pion's VP8 packetizer, RTP packets with extensions, SRTP, and one write each.
//
// pion PORT PACKETS FRAME_BYTES prints nanoseconds of CPU a packet.
package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/srtp/v3"
)

func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func main() {
	var asked [3]int
	for i := range asked {
		number, err := strconv.Atoi(os.Args[i+1])
		if err != nil {
			panic(err)
		}
		asked[i] = number
	}
	out, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: asked[0]})
	if err != nil {
		panic(err)
	}
	key := make([]byte, 28)
	if _, err := rand.Read(key); err != nil {
		panic(err)
	}
	context, err := srtp.CreateContext(key[:16], key[16:], srtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		panic(err)
	}
	packetizer := rtp.NewPacketizer(1200, 100, 3, &codecs.VP8Payloader{EnablePictureID: true}, rtp.NewFixedSequencer(1), 90000)
	frame, buffer, sent := make([]byte, asked[2]), make([]byte, 1500), 0
	begun := cpu()
	for sent < asked[1] {
		for _, packet := range packetizer.Packetize(frame, 3000) {
			number, _ := rtp.TransportCCExtension{TransportSequence: uint16(sent)}.Marshal()
			at, _ := rtp.NewAbsSendTimeExtension(time.Now()).Marshal()
			if packet.SetExtension(5, number) != nil || packet.SetExtension(3, at) != nil {
				panic("extensions")
			}
			size, err := packet.MarshalTo(buffer)
			if err != nil {
				panic(err)
			}
			protected, err := context.EncryptRTP(buffer, buffer[:size], nil)
			if err != nil {
				panic(err)
			}
			if _, err := out.Write(protected); err != nil {
				panic(err)
			}
			sent++
		}
	}
	fmt.Println(float64(cpu()-begun) / float64(sent))
}
