"""WeCom's own API (qyapi.weixin.qq.com)."""
