# One static binary and nothing else. Built by `make image`, whose context holds the
# binary, the licence and an empty data directory:
#
#   CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags '-s -w' -o dist/image/weir ./cmd/weir
#   docker build -t weir:dev -f Dockerfile dist/image
FROM scratch
COPY LICENSE /LICENSE
COPY weir /weir
# A volume mounted here starts with this directory's owner.
COPY --chown=65532:65532 data /data
USER 65532:65532
VOLUME /data
# gRPC, peers, HTTP, gossip
EXPOSE 7070 7071 7072 7946/tcp 7946/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/weir", "healthcheck"]
ENTRYPOINT ["/weir"]
CMD ["serve"]
