/* settings.h - what every URL's query may say, whatever the transport. */
#ifndef FERRY_ENDS_SETTINGS_H
#define FERRY_ENDS_SETTINGS_H

#include "ends/names.h"
#include "link/link.h"

extern const ferry__setting ferry__core_settings[];
ferry_status ferry__settings_read(ferry__config *config, ferry__name **names, ferry__link *l, const ferry__url *url,
                                  char *why);

#endif
