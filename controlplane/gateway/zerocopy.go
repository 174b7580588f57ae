package gateway

import (
	"fmt"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/nic"
	"culvert/dataplane/xsk"
)

// judgeZeroCopy looks whether the zero-copy that a driver offers is to be taken. Where mode auto does not
// take it, it is no part of the offer any more. Packets that do not fit are an error where it is demanded;
// what else is wrong with it is in the note.
func judgeZeroCopy(offer *attach.Offer, c *config.Interface, mtu, packetMax int) (note Note, err error) {
	if !offer.ZeroCopy || c.Mode != modeZeroCopy && c.Mode != modeAuto {
		return note, nil
	}
	driver, err := nic.Driver(c.Name)
	if err != nil {
		return note, err
	}
	trusted, fits := attach.TrustsZeroCopy(driver), attach.ZeroCopyFits(driver, mtu, packetMax)
	switch {
	case c.Mode == modeZeroCopy && !fits:
		return note, attach.DemandWhole(c.Name, driver, mtu, packetMax)
	case c.Mode == modeZeroCopy && !trusted:
		note.Text = fmt.Sprintf("mode zerocopy of %s: once %s ran out of frames, it hands over some twice",
			c.Name, driver)
		note.Remedy = "`mode: auto`, or so many frames that they never run out (`workers.frames`)"
	case c.Mode == modeZeroCopy:
	case !trusted:
		offer.ZeroCopy = false
	case !fits:
		offer.ZeroCopy = false
		problem, remedy := attach.WhyTooLong(c.Name, driver, mtu, packetMax)
		note = Note{Text: c.Name + " is in mode native: " + problem, Remedy: remedy}
	}
	return note, nil
}

// fitsZeroCopy tells whether zero-copy would take the longest packets of the present MTU whole.
func (p *port) fitsZeroCopy() bool {
	return attach.ZeroCopyFits(p.attachment.Driver(), p.state.MTU, p.packetMax)
}

// bindMode is how a queue's socket is to be bound.
func (p *port) bindMode() xsk.Mode {
	switch {
	case p.config.Mode == modeZeroCopy:
		return xsk.ZeroCopy
	case p.config.Mode == modeAuto && p.attachment.Mode() == attach.Native && p.whole &&
		attach.TrustsZeroCopy(p.attachment.Driver()):
		return xsk.Auto
	}
	return xsk.Copy
}
