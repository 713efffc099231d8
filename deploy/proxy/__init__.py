"""What stands before Flower's one port: nginx, which lets SuperNodes through and nobody else."""

from deploy.proxy.from_folder import fence_of
from deploy.proxy.render import nginx_conf
from deploy.proxy.running import nginx_arguments, proxy_running
from deploy.proxy.settings import Fence

__all__ = ["Fence", "fence_of", "nginx_arguments", "nginx_conf", "proxy_running"]
