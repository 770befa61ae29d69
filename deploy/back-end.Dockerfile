# The Go example, the back-end of a shop: docker build -f deploy/back-end.Dockerfile examples/go
FROM golang:1.19 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -o /back-end .

FROM debian:12-slim
COPY --from=build /back-end /back-end
USER nobody
ENTRYPOINT ["/back-end"]
