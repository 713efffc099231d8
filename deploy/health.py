"""Is it up? `GET /health` of a SuperLink over TLS, and `grpc.health.v1` where it was asked for."""

import http.client
import ssl
import time
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from deploy.service import Service
from lego_core.errors import RunError

START_SECONDS = 120.0
TRY_SECONDS = 2.0
PAUSE_SECONDS = 0.2


def answers_https(host: str, port: int, *, ca: Path) -> bool:
    """Whether `GET /health` gives 200.

    Raises:
        RunError: If something is there whose certificate is not to be trusted, with the reason.
    """
    context = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection(host, port, timeout=TRY_SECONDS, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except ssl.SSLCertVerificationError as error:
        raise RunError(
            f"The certificate at {host}:{port} is not to be trusted: {error.verify_message}. Give it a new "
            "certificate, from the CA that is named in the settings."
        ) from error
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def answers_grpc(host: str, port: int) -> bool:
    """Whether `grpc.health.v1` says SERVING."""
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = check(HealthCheckRequest(), timeout=TRY_SECONDS)
        except grpc.RpcError:
            return False
    return answer.status == HealthCheckResponse.SERVING


def wait_until_up(service: Service, *, host: str, port: int, ca: Path, grpc_port: int | None = None) -> None:
    """Wait for a service to be ready for work.

    Raises:
        RunError: If it ends, if it is not to be trusted, or if it is not ready in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while not (
        answers_https(host, port, ca=ca) and (grpc_port is None or answers_grpc("127.0.0.1", grpc_port))
    ):
        service.check_alive()
        if time.monotonic() > deadline:
            raise RunError(
                f"{service.name} was not ready within {START_SECONDS:g} seconds. Its last words are in "
                f"{service.log.name}."
            )
        time.sleep(PAUSE_SECONDS)
