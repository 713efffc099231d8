"""The self-examination: our own models, attacked with what a server or a user of the model sees.

patients      who may be a member, and who is public
protections   what each privacy plan does to a training, and what it lets the server see
federation    blocks trained over sites under a protection
membership    was this patient among those who trained the model?
inversion     what did the patients behind this update look like?
canaries      how much privacy is lost at the least?
counting      areas, rates and bounds, over resampled patients
examination   all attacks on all protections, one after the other
findings      what they come to, in numbers and in sentences
shown         the table and the figure
command       `bench privacy`
rehearsal     `bench privacy --of FOLDER`: a model that was rehearsed, and its own patients
"""
