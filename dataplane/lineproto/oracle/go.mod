module culvert/dataplane/lineproto/oracle

go 1.26.0

require (
	culvert v0.0.0
	github.com/influxdata/line-protocol/v2 v2.2.1
)

replace culvert => ../../..
